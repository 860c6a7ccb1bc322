"""What a verified token grants, and why it does not."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.auth.claims import Rules, grant_of
from gateway.auth.grants import Bearer, Grant
from gateway.auth.refusals import Refusal, Refused
from gateway.protocol.patterns import Patterns, PersonalChannel
from publisher.channels import Channel

NOW = 1_800_000_000.5
EXP = 1_800_000_060
RULES = Rules(leeway_seconds=10)
STRICT = Rules(frozenset({"https://id.example", "other"}), frozenset({"fanlight", "f2"}), leeway_seconds=10)
PERSONAL = Rules(personal=PersonalChannel.parse("user.{sub}"))


def grant(rules: Rules = RULES, **claims: object) -> Grant:
    return grant_of(json.dumps({"exp": EXP} | claims).encode(), rules, NOW)


def test_a_whole_token() -> None:
    found = grant(
        sub="42", fanlight={"subscribe": ["orders.42", "public.*"], "publish": ["chat.*"], "later": 1}
    )
    assert found == Grant(Patterns(["orders.42", "public.*"]), Patterns(["chat.*"]), EXP, "42")
    assert not found.anonymous


def test_what_revocations_name() -> None:
    found = grant(sub="42", jti="t1", iat=NOW - 5, fanlight={"disconnect": True})
    assert found.bearer == Bearer("42", "t1", NOW - 5)
    assert found.disconnect
    assert grant().bearer == Bearer()
    assert not grant().disconnect


@pytest.mark.parametrize("claims", [{}, {"fanlight": {}}, {"fanlight": {"subscribe": []}}, {"sub": None}])
def test_what_is_not_claimed_is_not_granted(claims: dict[str, Any]) -> None:
    assert grant(**claims) == Grant(Patterns(), Patterns(), EXP, None)


TIMES: list[tuple[dict[str, Any], Refusal | None]] = [
    ({"exp": EXP + 0.25}, None),
    ({"exp": NOW + 0.001}, None),
    ({"exp": NOW}, Refusal.EXPIRED),  # RFC 7519, section 4.1.4: on or after
    ({"exp": NOW - 1}, Refusal.EXPIRED),
    ({"exp": 0}, Refusal.EXPIRED),
    ({"exp": -1}, Refusal.EXPIRED),
    ({"exp": -(10**400)}, Refusal.CLAIMS),
    ({"exp": 10**400}, Refusal.CLAIMS),
    ({"exp": math.inf}, Refusal.MALFORMED),
    ({"exp": math.nan}, Refusal.MALFORMED),
    ({"exp": None}, Refusal.CLAIMS),
    ({"exp": str(EXP)}, Refusal.CLAIMS),
    ({"exp": True}, Refusal.CLAIMS),
    ({"exp": [EXP]}, Refusal.CLAIMS),
    ({"exp": {}}, Refusal.CLAIMS),
    ({"nbf": NOW + 10}, None),
    ({"nbf": NOW + 10.1}, Refusal.NOT_YET_VALID),
    ({"nbf": "0"}, Refusal.CLAIMS),
    ({"nbf": None}, None),
    ({"iat": NOW + 10}, None),
    ({"iat": NOW + 10.1}, Refusal.NOT_YET_VALID),
    ({"iat": False}, Refusal.CLAIMS),
    ({"iat": None}, None),
    # A revocation counts for 12 h: by the issuer's clock where it says its time, else by ours and the leeway.
    ({"iat": EXP - 43_200}, None),
    ({"iat": EXP - 43_201}, Refusal.LONG_LIVED),
    ({"iat": 0}, Refusal.LONG_LIVED),
    ({"exp": NOW + 43_210}, None),
    ({"exp": NOW + 43_211}, Refusal.LONG_LIVED),
    ({"exp": NOW + 43_210, "iat": NOW + 10}, None),
    ({"exp": NOW + 43_205, "iat": NOW}, Refusal.LONG_LIVED),
    ({"exp": 1e300}, Refusal.LONG_LIVED),
]
TYPES: list[tuple[dict[str, Any], Refusal | None]] = [
    ({"sub": 42}, Refusal.CLAIMS),
    ({"sub": ["42"]}, Refusal.CLAIMS),
    ({"sub": "x" * 257}, Refusal.CLAIMS),
    ({"jti": "x" * 256}, None),
    ({"jti": "x" * 257}, Refusal.CLAIMS),
    ({"jti": 7}, Refusal.CLAIMS),
    ({"jti": None}, None),
    ({"fanlight": {"disconnect": False}}, None),
    ({"fanlight": {"disconnect": 1}}, Refusal.CLAIMS),
    ({"fanlight": {"disconnect": "*"}}, Refusal.CLAIMS),
    ({"fanlight": {"disconnect": None}}, Refusal.CLAIMS),
    ({"fanlight": None}, Refusal.CLAIMS),
    ({"fanlight": ["a"]}, Refusal.CLAIMS),
    ({"fanlight": "*"}, Refusal.CLAIMS),
    ({"fanlight": {"subscribe": "*"}}, Refusal.CLAIMS),
    ({"fanlight": {"subscribe": None}}, Refusal.CLAIMS),
    ({"fanlight": {"subscribe": {"*": True}}}, Refusal.CLAIMS),
    ({"fanlight": {"subscribe": ["a", 7]}}, Refusal.CLAIMS),
    ({"fanlight": {"subscribe": [["a"]]}}, Refusal.CLAIMS),
    ({"fanlight": {"subscribe": ["a b"]}}, Refusal.CLAIMS),
    ({"fanlight": {"subscribe": ["fanlight.x"]}}, Refusal.CLAIMS),
    ({"fanlight": {"publish": [""]}}, Refusal.CLAIMS),
    ({"fanlight": {"publish": "a"}}, Refusal.CLAIMS),
]
# A token that was made for others is refused also where no audience is set.
PARTIES: list[tuple[dict[str, Any], Refusal | None]] = [
    ({"iss": "anybody"}, None),
    ({"iss": 7}, None),
    ({"aud": "fanlight"}, Refusal.AUDIENCE),
    ({"aud": []}, Refusal.AUDIENCE),
]


@pytest.mark.parametrize(("claims", "wanted"), TIMES + TYPES + PARTIES, ids=str)
def test_claims(claims: dict[str, Any], wanted: Refusal | None) -> None:
    check(RULES, claims, wanted)


GOOD = {"iss": "https://id.example", "aud": "fanlight"}
STRICTLY: list[tuple[dict[str, Any], Refusal | None]] = [
    ({}, None),
    ({"iss": "other"}, None),
    ({"iss": None}, Refusal.ISSUER),
    ({"iss": "https://id.example/"}, Refusal.ISSUER),
    ({"iss": "HTTPS://ID.EXAMPLE"}, Refusal.ISSUER),
    ({"iss": ["https://id.example"]}, Refusal.ISSUER),
    ({"iss": 7}, Refusal.ISSUER),
    ({"aud": ["x", "f2"]}, None),
    ({"aud": None}, Refusal.AUDIENCE),
    ({"aud": "x"}, Refusal.AUDIENCE),
    ({"aud": "fanlight.x"}, Refusal.AUDIENCE),
    ({"aud": ["x", "y"]}, Refusal.AUDIENCE),
    ({"aud": ["fanlight", 7]}, Refusal.AUDIENCE),
    ({"aud": {"fanlight": 1}}, Refusal.AUDIENCE),
    ({"aud": [["fanlight"]]}, Refusal.AUDIENCE),
    ({"aud": 7}, Refusal.AUDIENCE),
]


@pytest.mark.parametrize(("claims", "wanted"), STRICTLY, ids=str)
def test_issuer_and_audience(claims: dict[str, Any], wanted: Refusal | None) -> None:
    check(STRICT, {**GOOD, **claims}, wanted)


def check(rules: Rules, claims: dict[str, Any], wanted: Refusal | None) -> None:
    if wanted is None:
        assert grant(rules, **claims)
        return
    with pytest.raises(Refused) as caught:
        grant(rules, **claims)
    assert caught.value.reason is wanted


@pytest.mark.parametrize(
    ("subject", "channels"),
    [("42", ["user.42"]), ("a.b", []), ("", []), ("*", []), (None, []), ("auth0|1", [])],
)
def test_a_subject_has_a_channel_of_its_own(subject: str | None, channels: list[str]) -> None:
    found = grant(PERSONAL, sub=subject, fanlight={"subscribe": ["a"]})
    assert found.subscribe == Patterns(["a", *channels])
    assert not found.publish


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(["exp", "nbf", "iat", "iss", "aud", "sub", "fanlight", "jti"])
LIKELY = st.fixed_dictionaries(
    {"exp": st.just(EXP) | ANY}, optional={"fanlight": ANY, "sub": ANY, "nbf": ANY}
)


@given(st.dictionaries(NAMES, ANY, max_size=6) | LIKELY | ANY, st.sampled_from([RULES, STRICT, PERSONAL]))
def test_any_claims_grant_something_or_are_refused(claims: object, rules: Rules) -> None:
    try:
        found = grant_of(json.dumps(claims).encode(), rules, NOW)
    except Refused:
        return
    assert NOW < found.expires_at < math.inf


@given(st.binary(max_size=100))
def test_any_bytes_are_refused(payload: bytes) -> None:
    with pytest.raises(Refused):
        grant_of(payload, RULES, NOW)


# Grants.


def test_a_grant_names_what_it_does_not_allow() -> None:
    found = grant(fanlight={"subscribe": ["a"]}).beside(Grant(Patterns(["public.*"])))
    found.check_subscribe([Channel("a"), Channel("public.x")])
    with pytest.raises(Refused, match="subscribe to b") as caught:
        found.check_subscribe([Channel("a"), Channel("b"), Channel("c")])
    assert caught.value.reason is Refusal.NOT_GRANTED


def test_without_a_credential_it_says_that_one_may_help() -> None:
    with pytest.raises(Refused, match="send a token") as caught:
        Grant(Patterns(["public.*"])).check_subscribe([Channel("b")])
    assert caught.value.reason is Refusal.MISSING


def test_a_ticket_holds_what_is_for_reading() -> None:
    may = {"subscribe": ["a", "b.*"], "publish": ["c"], "disconnect": True, "presence": ["d.*"]}
    found = grant(sub="42", jti="t1", iat=NOW, fanlight=may)
    kept = Grant(found.subscribe, Patterns(), EXP, "42", "t1", NOW, presence=Patterns(["d.*"]))
    assert Grant.load(found.dump(), NOW) == kept


def test_a_ticket_is_worth_nothing_once_the_token_has_expired() -> None:
    with pytest.raises(Refused) as caught:
        Grant.load(grant().dump(), EXP)
    assert caught.value.reason is Refusal.EXPIRED


LATER = EXP
TICKETS = [
    b"",
    b"{",
    b"7",
    b"[]",
    b"[]" * 5,
    b"[[], 1800000060, null]",
    b"[[], 1800000060, null, null, null]",
    b"\xff",
    b"[" * 100_000,
]
TICKETS += [
    b"[%b, null]" % fields
    for fields in (
        b"[], [], 1e400, null, null",
        b"[], [], NaN, null, null",
        b'"*", [], 1800000060, null, null',
        b'[], "*", 1800000060, null, null',
        b'[], ["a b"], 1800000060, null, null',
        b'["a b"], [], 1800000060, null, null',
        b"[7], [], 1800000060, null, null",
        b"[], [], 1800000060, 7, null",
        b"[], [], 1800000060, null, 7",
        b"null, [], 1800000060, null, null",
        b'[], [], "never", null, null',
    )
]
TICKETS += [b'[[], [], 1800000060, null, null, "now"]', b"[[], [], 1800000060, null, null, NaN]"]


@pytest.mark.parametrize("data", TICKETS)
def test_what_is_no_ticket(data: bytes) -> None:
    with pytest.raises(Refused):
        Grant.load(data, NOW)


@given(st.binary(max_size=60) | ANY.map(lambda value: json.dumps(value).encode()))
@example(b"[[],[],1800000060,null,null,null]")
def test_any_bytes_are_refused_or_a_ticket_for_just_what_they_say(data: bytes) -> None:
    try:
        found = Grant.load(data, NOW)
    except Refused:
        return
    assert json.loads(found.dump()) == json.loads(data)
    assert NOW < found.expires_at < math.inf
