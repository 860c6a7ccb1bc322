"""Every parser that reads bytes from outside, as a function of any bytes that returns or fails a promise.

Hypothesis asks each of them in the unit tests, and atheris for as long as one likes (`make fuzz`). What a
parser may refuse is caught here; whatever else comes out of it is a bug. `EXAMPLES` are what both begin from.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from urllib.parse import parse_qsl

from redis.connection import parse_url

from gateway.auth.claims import Rules, grant_of
from gateway.auth.credentials import cookie, credential, may_use_cookie
from gateway.auth.grants import Grant
from gateway.auth.keys import BadKeys, from_file, from_jwks
from gateway.auth.refusals import Refused
from gateway.auth.tokens import read_header, verify
from gateway.cli.sse_client import EventStreamParser, StreamTooLarge
from gateway.http.cors import Cors
from gateway.protocol.asking import InspectRequest, presence_channels
from gateway.protocol.epochs import History
from gateway.protocol.fields import BadMessage
from gateway.protocol.inquiry import Answer, Ask, Question, Top
from gateway.protocol.negotiation import accepts_gzip
from gateway.protocol.patterns import InvalidPattern, Patterns, PersonalChannel
from gateway.protocol.publication import Publication
from gateway.protocol.publishing import BadItem, PublishRequest
from gateway.protocol.request import BadRequest, StreamRequest
from gateway.protocol.sse import Encoding
from gateway.protocol.summary import LinkSummary, Summary
from gateway.settings import redact_url
from publisher.channels import Channel, validate_channel, validate_prefix
from publisher.errors import InvalidEvent
from publisher.events import encode_data, encode_type, validate_idempotency_key
from publisher.ids import EventId, Position
from publisher.payload import InvalidPayload, decode, decode_id
from publisher.sentinel.answers import named
from publisher.sentinel.url import SentinelUrl
from publisher.traceparent import Traceparent

_NOW = 1_800_000_000.0


def _text(raw: bytes) -> str:
    """As aiohttp gives what is not UTF-8."""
    return raw.decode("utf-8", "surrogateescape")


def payload(raw: bytes) -> None:
    """A message or an entry of Redis. What is taken can be written to a stream, and is what it was."""
    try:
        decoded = decode(raw)
    except InvalidPayload:
        return
    assert decode(decoded.encode()) == decoded
    assert decode_id(raw) == decoded.id
    frame = Publication(Channel("a"), decoded).frame(Encoding(chunked=False, envelope=False))
    assert frame.endswith(b"\n\n")
    assert frame.count(b"\n\n") == 1, "an event is one block"
    assert b"\0" not in frame
    events = EventStreamParser().feed(frame)
    assert [event.id for event in events] == [str(decoded.id)]


def payload_id(raw: bytes) -> None:
    try:
        decode_id(raw)
    except InvalidPayload:
        return


def traceparent(raw: bytes) -> None:
    """Of a header, an argument, or Redis. What goes on is of our version, and means the same."""
    text = _text(raw)
    try:
        parsed = Traceparent.parse(text)
    except ValueError:
        return
    ours = str(parsed)
    assert Traceparent.parse(ours) == parsed
    assert len(ours) == 55
    assert ours[3:52] == text[3:52]


def last_event_id(raw: bytes) -> None:
    """A cursor. Only one spelling is an id."""
    text = _text(raw)
    try:
        id_ = EventId.parse(text)
    except ValueError:
        return
    assert str(id_) == text


def position(raw: bytes) -> None:
    text = _text(raw)
    try:
        parsed = Position.parse(text)
    except ValueError:
        return
    assert str(parsed) == text
    assert parsed.before() <= parsed


def history(raw: bytes) -> None:
    """`meta`'s epoch and breaks, and a cursor's path through them."""
    epoch, _, breaks = _text(raw).partition("\n")
    try:
        History.parse(epoch, breaks)
    except ValueError:
        return


def query(raw: bytes) -> None:
    """The query of GET /events, and Last-Event-ID."""
    text, _, header = _text(raw).partition("\n")
    pairs = parse_qsl(text, keep_blank_values=True, errors="surrogateescape")
    try:
        asked = StreamRequest.parse(pairs, header or None, max_channels=5, max_last=10)
    except BadRequest:
        return
    assert 0 < len(asked.channels) <= 5
    assert 0 <= asked.last <= 10
    assert all(validate_channel(name) == name for name in asked.channels)


def publish_body(raw: bytes) -> None:
    """JSON, and the same as NDJSON. What is taken can be encoded again, or is refused as an event."""
    for lines in (False, True):
        try:
            asked = PublishRequest.parse(raw, lines=lines, max_items=20)
        except BadRequest:
            continue
        for item in asked.items:
            if isinstance(item, BadItem):
                json.dumps(item.detail)
                continue
            assert 0 < len(item.channels) <= 20
            try:
                encode_type(item.type)
                encode_data(item.data, 1000)
                if item.idempotency_key is not None:
                    validate_idempotency_key(item.idempotency_key)
            except InvalidEvent:
                pass


def names(raw: bytes) -> None:
    text = _text(raw)
    for parse in (validate_channel, validate_prefix):
        try:
            assert parse(text) == text
        except ValueError:
            continue
        assert text.isascii()


def patterns(raw: bytes) -> None:
    """Settings and claims."""
    text = _text(raw)
    with suppress(InvalidPattern):
        Patterns(text.split("\n")).allows(Channel("a"))
    with suppress(InvalidPattern):
        PersonalChannel.parse(text).of("42")


def credentials(raw: bytes) -> None:
    """Authorization, cookies, and whose page may use them."""
    lines = _text(raw).split("\n")
    try:
        found = credential(lines[:1], None, lines[1:], "fanlight")
        cookie(lines, "fanlight")
    except Refused:
        return
    assert found is None or found.value in raw.decode("utf-8", "surrogateescape")
    if may_use_cookie(lines[0], None, lines[-1], {"https://app.example"}):
        assert lines[0] in ("https://app.example", f"http://{lines[-1]}")


def tokens(raw: bytes) -> None:
    """A token that nobody signed, up to the last check."""
    text = _text(raw)
    try:
        read_header(text, 4096)
        verify(text, from_file(b'{"kty":"oct","k":"%b"}' % (b"A" * 43)))
    except Refused:
        return
    raise AssertionError("nobody has signed this")


def claims(raw: bytes) -> None:
    """What a good signature vouches for may still be anything."""
    try:
        grant = grant_of(raw, Rules(frozenset(), frozenset(), 10.0), _NOW)
    except Refused:
        return
    assert grant.expires_at > _NOW


def ticket(raw: bytes) -> None:
    """What Redis has under a ticket's key."""
    try:
        Grant.load(raw, _NOW)
    except Refused:
        return


def keys(raw: bytes) -> None:
    """An issuer's set, and a file of keys."""
    for load in (from_jwks, from_file):
        try:
            assert load(raw)
        except BadKeys:
            continue


def accept_encoding(raw: bytes) -> None:
    text = _text(raw)
    if accepts_gzip(text):
        assert "gzip" in text.lower() or "*" in text


def origin(raw: bytes) -> None:
    text = _text(raw)
    headers = Cors(["https://app.example", "*"]).headers({"Origin": text})
    assert ("Access-Control-Allow-Credentials" in headers) is (text == "https://app.example")


def urls(raw: bytes) -> None:
    """A URL of a setting loses its password before it is shown."""
    redact_url(_text(raw))
    shown = redact_url(f"redis://user:CANARY@{_text(raw)}".replace("\\", ""))
    assert "CANARY" not in shown, shown


def _parsed(text: str) -> tuple[SentinelUrl | None, str]:
    """And what is told of it."""
    try:
        url = SentinelUrl.parse(text)
    except ValueError as refused:
        return None, str(refused)
    return url, repr(url)


def sentinel_urls(raw: bytes) -> None:
    """What is taken, redis-py takes; what is refused is refused without a word of it."""
    text = _text(raw)
    redact_url(text)
    shown = redact_url(f"redis+sentinel://user:CANARY@{text}")
    assert "CANARY" not in shown, shown
    url, words = _parsed(text)
    assert "p4ss" not in words
    if url is None:
        return
    for made in (url.server_url(("::1", 1)), url.sentinel_url(url.sentinels[0])):
        assert parse_url(made)["port"] > 0  # type: ignore[no-untyped-call]


def sentinel_answers(raw: bytes) -> None:
    """A sentinel is asked before anybody has said who it is."""
    epoch, _, rest = raw.partition(b"\n")
    host, _, port = rest.partition(b"\n")
    try:
        found = named([b"config-epoch", epoch], [host, port])
    except ValueError:
        return
    assert isinstance(found.address[1], int)


def question(raw: bytes) -> None:
    """What another node asks. What is taken is what it was."""
    try:
        asked = Question.decode(raw)
    except BadMessage:
        return
    assert Question.decode(asked.encode()) == asked
    assert len(asked.channels) <= 400
    assert all(validate_channel(name) == name for name in asked.channels)


def answer(raw: bytes) -> None:
    """What another node answers to an overview, and to counts."""
    for ask in Ask:
        put = Question("0" * 16, "1" * 16, ask, (Channel("a"), Channel("b")), most=3)
        try:
            found = Answer.decode(raw, {put.id: put})
        except BadMessage:
            continue
        if found is not None:
            assert Answer.decode(found.encode(), {put.id: put}) == found
            assert len(found.counts) == (2 if ask is Ask.COUNTS else 0)


def inspecting(raw: bytes) -> None:
    """The query of the inspector, and that of GET /presence."""
    pairs = parse_qsl(_text(raw), keep_blank_values=True, errors="surrogateescape")
    with suppress(BadRequest):
        asked = InspectRequest.parse(pairs)
        assert 1 <= asked.most <= 100
        assert not (asked.channel and asked.prefix), "one of the two"
    with suppress(BadRequest):
        assert 0 < len(presence_channels(pairs, most=3)) <= 3


def event_stream(raw: bytes) -> None:
    """What `fanlight tail` reads: the same events, wherever the bytes are cut."""
    whole, parts = EventStreamParser(max_characters=10_000), EventStreamParser(max_characters=10_000)
    try:
        together = whole.feed(raw)
        apart = [event for byte in raw for event in parts.feed(bytes([byte]))]
    except StreamTooLarge:
        return
    assert together == apart
    assert (whole.last_event_id, whole.retry_ms) == (parts.last_event_id, parts.retry_ms)


_SUMMARY = Summary(
    name="host:8080",
    worker=None,
    version="1",
    uptime_seconds=1.5,
    ready=True,
    why=(),
    draining=False,
    streams=1,
    max_streams=2,
    replaying=0,
    channels=1,
    ingested=5,
    delivered=6,
    redis=LinkSummary(True, 1, 0.0, 0.001, 0.002, ""),
    behind_seconds=0.0,
    left_seconds=math.inf,
    laggards=(),
    changes=(),
)
_HEAD = b"1 1795448896226-0-15afb2 1795448896225-3 1795448896226 event"
_TRACEPARENT = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
EXAMPLES: Mapping[Callable[[bytes], None], tuple[bytes, ...]] = {
    payload: (
        _HEAD + b'\narticle\n{"a": 1}\r\nmore',
        _HEAD + b" new=1\n\n",
        _HEAD + b" traceparent=%b\n\nx" % _TRACEPARENT,
    ),
    payload_id: (_HEAD + b"\n\nx", b"2 1-0-000000 \n"),
    traceparent: (_TRACEPARENT, b"cc" + _TRACEPARENT[2:] + b"-more"),
    last_event_id: (b"1795448896226-0-15afb2", b"18446744073709551615-1-000000"),
    position: (b"1795448896226-0", b"18446744073709551615-18446744073709551615", b"0-0"),
    history: (b"15afb2\n0a0a0a:1795448896226-0 ffffff:1-1 ", b"15afb2\n"),
    query: (b"channel=a&channel=b%20&last=3&envelope=json&ticket=x\n1-0-000000", b"channel=a%FF&last=-1"),
    publish_body: (
        b'{"channel":"a","data":{"x":[1e5,null]},"type":"t","idempotency_key":"k"}',
        b'[{"channels":["a","b"],"close":true},{"channel":"\\ud800","data":"\\u0000"}]',
        b'{"channel":"a","data":1}\n{"channel":"a","data":NaN}\n[[[[',
    ),
    names: (b"orders.42", b"fanlight.x", b"a" * 128),
    patterns: (b"public.*\n*\na*b*c", b"user.{sub}"),
    credentials: (b"Bearer abc\nfanlight=x; other=y", b'http://h\nfanlight=""\nh'),
    tokens: (b"eyJhbGciOiJIUzI1NiJ9.eyJleHAiOjF9.AAAA", b"eyJhbGciOiJub25lIn0.e30."),
    claims: (b'{"exp":1900000000,"sub":"42","fanlight":{"subscribe":["a.*"]}}', b'{"exp":1e400,"aud":[1]}'),
    ticket: (
        Grant(Patterns(["a"]), Patterns(), _NOW + 10, "42").dump(),
        b"{}",
        b"[[],[],%b,null,null,null]" % (b"9" * 400),
    ),
    keys: (
        b'{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}',
        b'{"kty":"RSA","n":"AQAB","e":"AQAB"}',
        b"-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA\n-----END PUBLIC KEY-----",
    ),
    accept_encoding: (b"gzip;q=0.5, identity;q=0, *", b"x-gzip"),
    origin: (b"https://app.example", b"null"),
    urls: (b"host:6379/0?ssl_cert_reqs=none#x", b"[::1]:1/"),
    sentinel_urls: (
        b"redis+sentinel://u:p4ss@a:1,b,[::1]:3/main/0?sentinel_username=u&sentinel_password=p4ss",
        b"rediss+sentinel://:p4ss@a/main?ssl_ca_certs=%2Fx.pem&ssl_check_hostname=false",
    ),
    sentinel_answers: (b"3\n127.0.0.1\n6379", b"-1\n::1\n1"),
    question: (
        Question("0" * 16, "1" * 16, Ask.COUNTS, (Channel("a"), Channel("b"))).encode(),
        Question("0" * 16, "1" * 16, Ask.OVERVIEW, prefix="orders.", most=20).encode(),
    ),
    answer: (
        Answer("0" * 16, "2" * 16, (1, 2)).encode(),
        Answer("0" * 16, "2" * 16, summary=_SUMMARY, top=Top(3, True, (Channel("a"),), (7,))).encode(),
    ),
    inspecting: (b"prefix=a&limit=20", b"channel=a&channel=b", b"channel=fanlight.control&limit=0"),
    event_stream: (b"\xef\xbb\xbfevent: x\r\ndata: a\rdata\n\nid: 1\nretry: 10\n:\n\n", b"data:\xff\n\n"),
}
PARSERS: Mapping[str, Callable[[bytes], None]] = {parse.__name__: parse for parse in EXAMPLES}
