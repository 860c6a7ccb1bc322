"""Patterns of channel names, held against a matcher that tries everything."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.protocol.patterns import (
    InvalidPattern,
    Patterns,
    PersonalChannel,
    Wildcard,
    validate_pattern,
)
from publisher.channels import MAX_CHANNEL_BYTES, Channel, validate_channel

MATCHES = [
    ("*", "a", True),
    ("*", "orders/42:x@y~z_-.", True),
    ("public.*", "public.news", True),
    ("public.*", "public.", True),
    ("public.*", "public", False),
    ("public.*", "xpublic.news", False),
    ("public*", "publications", True),
    ("*.news", "a.b.news", True),
    ("*.news", ".news.x", False),
    ("a*a", "aa", True),
    ("a*a", "a", False),
    ("ab*ba", "aba", False),
    ("a*b*c", "a1b2c", True),
    ("a*b*c", "acb", False),
    ("a*bc*bc", "abcbc", True),
    ("a*bc*bc", "abc", False),
    ("**", "x", True),
    ("a**b", "ab", True),
    ("*x*", "axb", True),
    ("*x*", "ab", False),
    ("A*", "abc", False),
    ("a.b", "a.b", True),
    ("a.b", "axb", False),
]


@pytest.mark.parametrize(("pattern", "channel", "wanted"), MATCHES)
def test_what_a_pattern_matches(pattern: str, channel: str, wanted: bool) -> None:
    assert Patterns([pattern]).allows(Channel(channel)) is wanted


def naive(pattern: str, name: str) -> bool:
    """By trying each length for each star."""
    if not pattern:
        return not name
    if pattern[0] == "*":
        return any(naive(pattern[1:], name[n:]) for n in range(len(name) + 1))
    return name[:1] == pattern[0] and naive(pattern[1:], name[1:])


@given(st.text("ab.*", min_size=1, max_size=9), st.text("ab.", min_size=1, max_size=9))
def test_it_matches_what_trying_everything_matches(pattern: str, name: str) -> None:
    if "*" in pattern:
        assert Wildcard(validate_pattern(pattern)).matches(Channel(name)) is naive(pattern, name)


class CountingName(str):
    """Counts the characters that are looked through for the parts of a pattern."""

    looked = 0

    def find(self, part: str, at: int = 0, end: int = -1) -> int:  # type: ignore[override]
        found = super().find(part, at, end)
        self.looked += (end if found < 0 else found + len(part)) - at
        return found


def test_a_name_is_gone_through_once() -> None:
    """What takes a matcher that tries again an hour: many stars, and no match at the very end."""
    name = CountingName("a" * MAX_CHANNEL_BYTES)
    assert not Wildcard(validate_pattern("*a" * 60 + "*b")).matches(Channel(name))
    assert not Wildcard(validate_pattern("*aa" * 40 + "*b*")).matches(Channel(name))
    assert name.looked <= 2 * len(name)


INVALID = ["", " ", "a b", "a,b", "a?", "[ab]", "{a}", "a\n", "ä*", "\0", "x" * 129, "*" * 129, ".a", "-"]
INVALID += ["fanlight.x"]


@pytest.mark.parametrize("pattern", INVALID)
def test_what_is_no_pattern(pattern: str) -> None:
    with pytest.raises(InvalidPattern):
        Patterns(["ok", pattern])


@given(st.text(max_size=140))
def test_any_text_is_a_pattern_or_refused(text: str) -> None:
    try:
        patterns = Patterns([text])
    except InvalidPattern:
        return
    assert patterns.texts == (text,)
    if "*" not in text:
        assert patterns.allows(validate_channel(text))


def test_patterns_join_and_name_the_first_that_is_denied() -> None:
    both = Patterns(["a", "b.*"]) | Patterns(["b.*", "c"])
    assert both.texts == ("a", "b.*", "c")
    assert both.denied([Channel("a"), Channel("b.1"), Channel("c")]) is None
    assert both.denied([Channel("a"), Channel("x"), Channel("y")]) == "x"
    nothing = Patterns()
    assert (nothing | both, both | nothing, bool(nothing), bool(both)) == (both, both, False, True)
    assert Patterns(["a", "b"]) == Patterns(["b", "a"])


PERSONAL = [
    ("user.{sub}", "42", "user.42"),
    ("user.{sub}", "a@b", "user.a@b"),
    ("user:{sub}:inbox", "7f-9_~", "user:7f-9_~:inbox"),
    ("{sub}.inbox", "7", "7.inbox"),
    ("{sub}.inbox", "-7", None),
    # Each of these would reach into what belongs to others.
    ("user.{sub}", "42.inbox", None),
    ("user.{sub}", "42/x", None),
    ("user.{sub}", "42:x", None),
    ("user.{sub}", "*", None),
    ("user.{sub}", "", None),
    ("user.{sub}", "auth0|42", None),
    ("user.{sub}", "{sub}", None),
    ("user.{sub}", "ä", None),
    ("user.{sub}", "42\n", None),
    ("user.{sub}", "x" * 124, None),
    ("{sub}ht.x", "fanlig", None),  # reserved
]


@pytest.mark.parametrize(("template", "subject", "wanted"), PERSONAL)
def test_a_subject_has_a_channel(template: str, subject: str, wanted: str | None) -> None:
    assert PersonalChannel.parse(template).of(subject) == wanted


@given(st.text(max_size=20))
def test_the_channels_of_two_subjects_differ(subject: str) -> None:
    channel = PersonalChannel.parse("user.{sub}").of(subject)
    if channel is not None:
        assert validate_channel(channel) == f"user.{subject}"


@pytest.mark.parametrize(
    "template", ["", "user", "{sub}", "{sub}{sub}", "user.{sub}.{sub}", "a {sub}", "{x}.{sub}"]
)
def test_what_is_no_template(template: str) -> None:
    with pytest.raises(InvalidPattern, match=r"user\.\{sub\}"):
        PersonalChannel.parse(template)
