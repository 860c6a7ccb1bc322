"""`publisher.sentinel.answers`: who is asked, and whose word counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from publisher.sentinel.answers import (
    LEFT_OUT_SECONDS,
    Named,
    NotThePrimary,
    PrimaryUnknown,
    Roster,
    Round,
    ask_seconds,
    check_role,
    named,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from publisher.sentinel.url import Address

A, B, C = ("a", 1), ("b", 2), ("c", 3)
OLD, NEW = ("old", 6379), ("new", 6379)
DEAD = ConnectionRefusedError("refused")


def answer(address: Address, epoch: int | None = 0) -> list[object]:
    master: object = [b"name", b"main", b"config-epoch", b"%d" % epoch] if epoch is not None else DEAD
    return [master, [address[0].encode(), b"%d" % address[1]]]


def ask(
    roster: Roster, answers: Mapping[Address, list[object]], *, now: float = 0, urgent: bool = True
) -> tuple[Address | None, list[Address]]:
    """The primary, if any, and who was asked. Who has no answer is dead."""
    question = Round(roster, now, urgent=urgent)
    asked = []
    for sentinel in question:
        asked.append(sentinel)
        if sentinel in answers:
            question.answered(sentinel, answers[sentinel], now)
        else:
            question.failed(sentinel, DEAD, now)
    try:
        return question.end(now), asked
    except PrimaryUnknown:
        return None, asked


def roster() -> Roster:
    return Roster("main", [A, B, C])


ROUNDS: list[tuple[str, dict[Address, list[object]], Address | None]] = [
    ("all agree", {A: answer(OLD), B: answer(OLD), C: answer(OLD)}, OLD),
    ("one knows of a failover", {A: answer(OLD, 1), B: answer(NEW, 2), C: answer(OLD, 1)}, NEW),
    ("two are stale, the first among them", {A: answer(OLD, 1), B: answer(OLD, 1), C: answer(NEW, 2)}, NEW),
    ("no epochs are told: most win", {A: answer(OLD, None), B: answer(NEW, None), C: answer(NEW, None)}, NEW),
    ("only one answers", {C: answer(OLD)}, OLD),
    ("nobody answers", {}, None),
    ("nobody knows the name", {A: [DEAD, None], B: [DEAD, None], C: [DEAD, None]}, None),
    ("one knows the name", {A: [DEAD, None], B: answer(OLD)}, OLD),
    ("one talks nonsense", {A: [b"OK", b"OK"], B: answer(OLD)}, OLD),
    ("one refuses", {A: [DEAD, DEAD], B: answer(OLD)}, OLD),
]


@pytest.mark.parametrize(("answers", "primary"), [row[1:] for row in ROUNDS], ids=[row[0] for row in ROUNDS])
def test_whose_word_counts(answers: dict[Address, list[object]], primary: Address | None) -> None:
    assert ask(roster(), answers) == (primary, [A, B, C])


def test_a_stale_sentinel_alone_does_not_lead_back() -> None:
    asked = roster()
    assert ask(asked, {A: answer(OLD, 1), B: answer(NEW, 2), C: answer(NEW, 2)})[0] == NEW
    assert ask(asked, {A: answer(OLD, 1)})[0] == NEW
    assert ask(asked, {A: answer(OLD, 1), C: answer(NEW, 2)}, now=100)[0] == NEW


def test_sentinels_that_were_set_up_anew_are_believed() -> None:
    asked = roster()
    assert ask(asked, {A: answer(OLD, 7), B: answer(OLD, 7), C: answer(OLD, 7)})[0] == OLD
    assert ask(asked, {A: answer(NEW, 0)})[0] == OLD
    assert ask(asked, {A: answer(NEW, 0), B: answer(NEW, 0)}, now=100)[0] == NEW


def test_a_silent_sentinel_is_left_out_for_a_while() -> None:
    asked, answers = roster(), {B: answer(OLD), C: answer(OLD)}
    assert ask(asked, answers) == (OLD, [A, B, C])
    assert ask(asked, answers, now=LEFT_OUT_SECONDS - 0.1) == (OLD, [B, C])
    assert ask(asked, answers, now=LEFT_OUT_SECONDS) == (OLD, [A, B, C])


def test_if_no_other_answers_the_silent_ones_are_asked_where_it_is_urgent() -> None:
    asked = roster()
    assert ask(asked, {}) == (None, [A, B, C])
    assert ask(asked, {B: answer(OLD)}, now=1, urgent=False) == (None, [])
    assert ask(asked, {B: answer(OLD)}, now=1) == (OLD, [A, B]), "and one answer is enough"
    assert ask(asked, {B: answer(OLD)}, now=2) == (OLD, [B]), "which has come back"


def test_the_message_says_why_for_each_sentinel() -> None:
    question = Round(Roster("main", [A, B, C]), 0, urgent=True)
    question.failed(A, TimeoutError(), 0)
    question.answered(B, [DEAD, None], 0)
    question.answered(C, [DEAD, Exception("NOPERM no permissions")], 0)
    with pytest.raises(PrimaryUnknown) as caught:
        question.end(0)
    assert str(caught.value) == (
        "no sentinel names the primary 'main': a:1 does not answer: TimeoutError; b:2 does not know a "
        "primary of this name; c:3 refuses: NOPERM no permissions"
    )


def test_an_answer_may_be_text_or_bytes_in_either_protocol() -> None:
    assert named({"config-epoch": "3"}, ["h", "1"]) == Named(3, ("h", 1))
    assert named([b"config-epoch", b"3"], [b"h", b"1"]) == Named(3, ("h", 1))
    for nonsense in (b"OK", 7, [], [b"h"], [b"h", b"x"], [b"h", b"1", b"2"], {"h": 1}):
        with pytest.raises(ValueError, match="not a sentinel's"):
            named([], nonsense)
    with pytest.raises(ValueError, match="not a sentinel's"):
        named([b"config-epoch", b"x"], [b"h", b"1"])


@pytest.mark.parametrize(
    "host",
    [
        b"",
        b"evil.example/0?ssl_cert_reqs=none#",
        b"user@evil.example",
        b"a b",
        b"a\nb",
        b"\0",
        b"..",
        b"a" * 64,
        b".".join([b"a" * 60] * 5),
        b"\xff\xfe",
        "xn--ä".encode(),
        b"[::1]",
        b"fe80::1%eth0",
    ],
)
def test_what_is_named_is_a_host_and_nothing_that_a_url_would_take_for_more(host: bytes) -> None:
    with pytest.raises(ValueError, match="not a sentinel's"):
        named([], [host, b"6379"])


@pytest.mark.parametrize(
    "port", [b"0", b"65536", b"99999", b"-1", b"1_0", b" 1", b"+1", b"9" * 5000, b"", b"\xd9\xa1"]
)
def test_and_a_port(port: bytes) -> None:
    with pytest.raises(ValueError, match="not a sentinel's"):
        named([], [b"h", port])


@pytest.mark.parametrize(
    "host", ["redis-1.internal", "a_b", "10.0.0.1", "::1", "fd00::a:1", "::ffff:10.0.0.1", "a."]
)
def test_hosts_are_names_and_addresses_of_both_kinds(host: str) -> None:
    assert named([], [host, "6379"]).address == (host, 6379)


def test_the_words_of_a_sentinel_are_cut_and_do_nothing_to_a_terminal() -> None:
    with pytest.raises(ValueError, match=r"^refuses: NO {2}31mx+$") as caught:
        named([], Exception("NO \x1b31m" + "x" * 100_000))
    assert len(str(caught.value)) < 250


def test_a_server_has_to_say_itself_that_it_is_the_primary() -> None:
    check_role([b"server", b"redis", b"role", b"master", b"modules", []])
    check_role({b"server": b"redis", b"role": b"master"})
    for role in (b"replica", b"slave", b"sentinel"):
        with pytest.raises(NotThePrimary, match=role.decode()):
            check_role([b"role", role])
    for nonsense in ([], b"OK", None, [b"role"]):
        with pytest.raises(NotThePrimary, match="unknown"):
            check_role(nonsense)


def test_all_sentinels_may_be_silent_within_the_deadline() -> None:
    for deadline_seconds in (0.05, 1, 5, 300):
        for count in (1, 3, 9):
            assert 0 < ask_seconds(deadline_seconds, count) * count < deadline_seconds
    assert ask_seconds(300, 3) == 1
