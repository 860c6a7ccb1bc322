"""Asks each sentinel in `redis_url` what it knows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from redis.exceptions import RedisError

from gateway.check.sentinels import Witness
from publisher.sentinel.answers import PrimaryUnknown, Roster, Round, ask_seconds, named, questions
from publisher.sentinel.sync import ask
from publisher.sentinel.url import SentinelUrl, shown_address

if TYPE_CHECKING:
    from gateway.settings import Settings


def look_at_sentinels(settings: Settings) -> tuple[str, list[Witness], str | None]:
    """The name of the primary, what each of them says, and the URL of the server that a node would take."""
    url = SentinelUrl.parse(settings.redis)
    commands = *questions(url.service), ("SENTINEL", "CKQUORUM", url.service)
    seconds = ask_seconds(settings.link_deadline_seconds, len(url.sentinels))
    asked = Round(Roster(url.service, url.sentinels), 0.0, urgent=True)
    witnesses = []
    for sentinel in asked:
        shown = shown_address(sentinel)
        try:
            *replies, quorum = ask(url, sentinel, commands, seconds=seconds)
        except (RedisError, OSError) as error:
            asked.failed(sentinel, error, 0.0)
            witnesses.append(Witness(shown, f"does not answer: {str(error) or type(error).__name__}"))
            continue
        asked.answered(sentinel, replies, 0.0)
        witnesses.append(_witness(shown, replies, quorum))
    try:
        return url.service, witnesses, url.server_url(asked.end(0.0))
    except PrimaryUnknown:
        return url.service, witnesses, None


def _witness(shown: str, replies: list[object], quorum: object) -> Witness:
    try:
        answer = named(*replies)
    except ValueError as error:
        return Witness(shown, str(error))
    return Witness(shown, primary=shown_address(answer.address), others=answer.others, quorum=_lack(quorum))


def _lack(quorum: object) -> str | None:
    if not isinstance(quorum, Exception):
        return ""
    words = str(quorum)
    return words if words.startswith("NOQUORUM") else None
