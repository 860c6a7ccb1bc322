"""Patterns of channel names: what a token or a setting allows. They never come from a URL.

    pattern  = 1*128( CHANNEL-CHAR / "*" )
    template = *( CHANNEL-CHAR ) "{sub}" *( CHANNEL-CHAR )     ; of a personal channel

A `*` stands for any run of characters of channel names, the empty one too; dots, colons and slashes are
characters like any other. A pattern without a `*` is a channel's name. Nothing else is special.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NewType

from publisher.channels import MAX_CHANNEL_BYTES, Channel, validate_channel
from publisher.errors import InvalidChannel

PatternText = NewType("PatternText", str)
"""A pattern that has been validated."""

_PATTERN: Final = re.compile(rf"[A-Za-z0-9_.:/@~*-]{{1,{MAX_CHANNEL_BYTES}}}", re.ASCII)
_SUBJECT: Final = re.compile(r"[A-Za-z0-9_@~-]+", re.ASCII)
_PLACE: Final = "{sub}"


class InvalidPattern(ValueError):
    """A text is not a pattern, or not a template. The message says what is."""


def validate_pattern(text: str) -> PatternText:
    """Return `text` as a pattern, or raise `InvalidPattern`, which quotes it."""
    if _PATTERN.fullmatch(text) is None:
        raise InvalidPattern(
            f"bad pattern {text[:MAX_CHANNEL_BYTES]!r}: use 1 to {MAX_CHANNEL_BYTES} characters of "
            "A-Z a-z 0-9 _ - . : / @ ~, and * for any run of these"
        )
    if "*" not in text:
        try:
            validate_channel(text)
        except InvalidChannel as error:
            raise InvalidPattern(f"bad pattern: without a * it is a channel's name; {error}") from None
    return PatternText(text)


class Wildcard:
    """A pattern with at least one `*`."""

    __slots__ = ("_first", "_last", "_least", "_middle")

    def __init__(self, pattern: PatternText) -> None:
        self._first, *middle, self._last = pattern.split("*")
        self._middle = tuple(filter(None, middle))
        self._least = len(pattern) - pattern.count("*")

    def matches(self, channel: Channel) -> bool:
        """Whether the pattern stands for this channel.

        Each part between two `*` is taken where it comes first. A later place could only leave less room for
        those behind it, so there is nothing to try again: the name is gone through once.
        """
        if len(channel) < self._least or not channel.startswith(self._first):
            return False
        at, end = len(self._first), len(channel) - len(self._last)
        for part in self._middle:
            found = channel.find(part, at, end)
            if found < 0:
                return False
            at = found + len(part)
        return channel.endswith(self._last)


class Patterns:
    """A set of patterns. It allows what one of them matches."""

    __slots__ = ("_names", "_wildcards", "texts")

    def __init__(self, texts: Iterable[str] = ()) -> None:
        """Raises `InvalidPattern`."""
        self.texts: tuple[PatternText, ...] = tuple(dict.fromkeys(map(validate_pattern, texts)))
        self._names = frozenset[str](text for text in self.texts if "*" not in text)
        self._wildcards = tuple(Wildcard(text) for text in self.texts if "*" in text)

    def allows(self, channel: Channel) -> bool:
        return channel in self._names or any(wildcard.matches(channel) for wildcard in self._wildcards)

    def denied(self, channels: Iterable[Channel]) -> Channel | None:
        """The first of these channels that is not allowed."""
        return next((channel for channel in channels if not self.allows(channel)), None)

    def __or__(self, other: Patterns) -> Patterns:
        if not other.texts:
            return self
        return Patterns((*self.texts, *other.texts)) if self.texts else other

    def __bool__(self) -> bool:
        return bool(self.texts)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Patterns) and set(self.texts) == set(other.texts)

    def __hash__(self) -> int:
        return hash(frozenset(self.texts))

    def __repr__(self) -> str:
        return f"Patterns({list(self.texts)})"


@dataclass(frozen=True, slots=True)
class PersonalChannel:
    """The channel that a subject may always subscribe to, such as `user.{sub}`."""

    before: str
    after: str

    @classmethod
    def parse(cls, template: str) -> PersonalChannel:
        """Raises `InvalidPattern`. Something must stand beside the subject: else whoever chooses their own
        name chooses any channel."""
        before, place, after = template.partition(_PLACE)
        try:
            validate_channel(f"{before}x{after}")
        except InvalidChannel:
            place = ""
        if not place or not (before or after):
            raise InvalidPattern(
                f"expected a channel's name with {_PLACE} once in it, and not alone, such as user.{_PLACE}"
            )
        return cls(before, after)

    def of(self, subject: str) -> Channel | None:
        """The subject's channel; None where the subject can't be a part of a name.

        A part has no dot, colon or slash: names are mostly built of parts with these between, and the subject
        `7.inbox` must not be given what belongs to `7`.
        """
        if _SUBJECT.fullmatch(subject) is None:
            return None
        try:
            return validate_channel(f"{self.before}{subject}{self.after}")
        except InvalidChannel:  # too long, or it does not begin with a letter or a digit
            return None
