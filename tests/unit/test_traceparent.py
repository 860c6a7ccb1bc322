"""`traceparent`: what is one (W3C Trace Context, levels 1 and 2), and how it travels."""

from __future__ import annotations

import pytest
from multidict import CIMultiDict

from gateway.http.publish import traceparent_of
from publisher import Event, InvalidTraceparent
from publisher.commands import Command, Options, each_command, event_commands
from publisher.payload import decode
from publisher.traceparent import Traceparent

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GOOD = f"00-{TRACE}-{SPAN}-01"
OTHER = f"00-{'1' * 32}-{'2' * 16}-01"
PAYLOAD = b"1 7-2-0a1b2c 7-1 1700000000000 event%b\ntick\nhello"


@pytest.mark.parametrize(
    ("text", "flags", "sampled"),
    [
        (GOOD, 1, True),
        (f"00-{TRACE}-{SPAN}-00", 0, False),
        pytest.param(f"00-{TRACE}-{SPAN}-03", 3, True, id="random, of level 2"),
        pytest.param(f"00-{TRACE}-{SPAN}-02", 2, False, id="random, and not sampled"),
        pytest.param(f"00-{TRACE}-{SPAN}-ff", 3, True, id="flags that nobody knows are dropped"),
        pytest.param(f"00-{TRACE}-{SPAN}-08", 0, False, id="and don't count as sampled"),
        pytest.param(f"01-{TRACE}-{SPAN}-01", 1, True, id="a later version"),
        pytest.param(f"cc-{TRACE}-{SPAN}-03", 1, True, id="of which one flag is known"),
        pytest.param(f"cc-{TRACE}-{SPAN}-01-what the future brings", 1, True, id="with more behind"),
        pytest.param(f"cc-{TRACE}-{SPAN}-01-", 1, True, id="or with a dash"),
        pytest.param(f"fe-{TRACE}-{SPAN}-01", 1, True, id="the last version"),
        pytest.param(f"00-{'0' * 31}1-{'0' * 15}1-01", 1, True, id="nearly nothing"),
    ],
)
def test_what_is_one(text: str, flags: int, *, sampled: bool) -> None:
    parsed = Traceparent.parse(text)
    assert (parsed.flags, parsed.sampled) == (flags, sampled)
    assert str(parsed) == f"00{text[2:52]}-{flags:02x}"
    assert Traceparent.parse(str(parsed)) == parsed


BAD = [
    pytest.param("", id="empty"),
    pytest.param(GOOD[:-1], id="too short"),
    pytest.param(GOOD + "0", id="too long"),
    pytest.param(GOOD + "-", id="version 00 ends with its flags"),
    pytest.param(GOOD + "-00", id="and has no fifth field"),
    pytest.param(f"ff-{TRACE}-{SPAN}-01", id="no such version"),
    pytest.param(f"0-{TRACE}-{SPAN}-01", id="half a version"),
    pytest.param(f"00-{'0' * 32}-{SPAN}-01", id="no trace"),
    pytest.param(f"00-{TRACE}-{'0' * 16}-01", id="no span"),
    pytest.param(GOOD.upper(), id="upper case"),
    pytest.param(f"00-{TRACE[:-1]}g-{SPAN}-01", id="not hex"),
    pytest.param(f"00-{TRACE[:-1]}-{SPAN}0-01", id="a digit on the wrong side"),
    pytest.param(f"00-{TRACE}-{SPAN}-1", id="half of the flags"),
    pytest.param(f"00-{TRACE}-{SPAN}-0x", id="flags that are none"),
    pytest.param(f"00_{TRACE}_{SPAN}_01", id="other dashes"),
    pytest.param(f" {GOOD}", id="a space before"),
    pytest.param(f"{GOOD} ", id="a space behind"),
    pytest.param(f"{GOOD}\n", id="a line feed behind"),
    pytest.param(f"cc-{TRACE}-{SPAN}-01.more", id="a later version, not by the rules"),
    pytest.param(f"cc-{TRACE}-{SPAN}-01-more\nlines", id="a later version, on two lines"),
    pytest.param(f"00-{'٣' * 32}-{SPAN}-01", id="digits that are not ours"),
    pytest.param(f"{GOOD}, {OTHER}", id="two"),
]


@pytest.mark.parametrize("text", BAD)
def test_what_is_none(text: str) -> None:
    with pytest.raises(ValueError):
        Traceparent.parse(text)


# A publish.


def arguments(event: Event, current: str | None = None) -> tuple[int | bytes, ...]:
    options = Options()
    trace = None if current is None else Traceparent.parse(current)
    [command] = event_commands(options, [event], None, None, trace)
    return command.arguments


def test_it_is_the_last_argument_of_the_script() -> None:
    plain = Event(channel="a", data="", idempotency_key="k")
    traced = Event(channel="a", data="", idempotency_key="k", traceparent=GOOD)
    assert arguments(traced) == (*arguments(plain), b"traceparent=" + GOOD.encode())


def test_an_event_of_no_trace_belongs_to_the_current_one() -> None:
    assert arguments(Event(channel="a", data=""), OTHER)[-1] == b"traceparent=" + OTHER.encode()
    named = Event(channel="a", data="", traceparent=GOOD)
    assert arguments(named, OTHER)[-1] == b"traceparent=" + GOOD.encode()


def test_a_later_version_goes_on_as_ours() -> None:
    event = Event(channel="a", data="", traceparent=f"cc-{TRACE}-{SPAN}-01-more")
    assert arguments(event)[-1] == b"traceparent=" + GOOD.encode()


@pytest.mark.parametrize("wrong", ["", "00-1-2-3", GOOD.upper(), 17, GOOD.encode()])
def test_what_a_caller_gives_and_is_none_is_refused(wrong: object) -> None:
    event = Event(channel="a", data="", traceparent=wrong)  # type: ignore[arg-type]
    with pytest.raises(InvalidTraceparent, match="traceparent"):
        event_commands(Options(), [event], None, None)
    good, bad = each_command(Options(), [Event(channel="a", data=""), event], None)
    assert isinstance(good, Command)
    assert isinstance(bad, InvalidTraceparent)


# A request.


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ([], None),
        ([GOOD], GOOD),
        ([f"cc{GOOD[2:]}-more"], GOOD),
        ([GOOD, OTHER], None),
        ([GOOD.upper()], None),
    ],
)
def test_the_trace_of_a_request_is_its_one_good_field(fields: list[str], found: str | None) -> None:
    assert traceparent_of(CIMultiDict(("Traceparent", field) for field in fields)) == found


# What a gateway reads.


@pytest.mark.parametrize(
    ("extensions", "found"),
    [
        (b"", None),
        (b" x=1 y", None),
        (b" traceparent=%b" % GOOD.encode(), GOOD),
        (b" x=1 traceparent=%b later" % GOOD.encode(), GOOD),
        (b" xtraceparent=%b" % GOOD.encode(), None),
        (b" traceparent", None),
        (b" traceparent=", None),
        (b" traceparent=%b0" % GOOD.encode(), None),
        (b" traceparent=x traceparent=%b" % GOOD.encode(), None),
    ],
)
def test_the_trace_of_an_event_and_no_bad_one_costs_it(extensions: bytes, found: str | None) -> None:
    traced = decode(PAYLOAD % extensions)
    plain = decode(PAYLOAD % b"")
    assert traced.traceparent == (None if found is None else Traceparent.parse(found))
    assert traced._replace(traceparent=None) == plain
