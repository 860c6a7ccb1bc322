"""Tokens and their keys: a table of forgeries, and which key is taken for which token."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.auth.claims import Rules, grant_of
from gateway.auth.keys import Algorithm, Key, fitting, from_file, from_jwks, from_secret
from gateway.auth.refusals import Refusal, Refused
from gateway.auth.tokens import read_header, verify
from gateway.protocol.patterns import Patterns
from tests.support.tokens import SECRET, Signer, base64url, compact, eddsa, es256, hs256, jwks, rs256

NOW = 1_800_000_000
CLAIMS: dict[str, Any] = {"exp": NOW + 60, "sub": "42", "fanlight": {"subscribe": ["a"]}}
ES, ES2, ED, RS = es256("es"), es256("es2"), eddsa("ed"), rs256("rs")
SIGNERS = [hs256(), ES, ED, RS]
KEYS = (from_secret(SECRET.encode()), *from_jwks(jwks(ES, ED, RS)))
MAX_BYTES = 4096


def accept(token: str, keys: tuple[Key, ...] = KEYS) -> Patterns:
    """What a node with these keys lets the bearer follow."""
    header = read_header(token, MAX_BYTES)
    payload = verify(token, fitting(keys, header.algorithm, header.key_id))
    return grant_of(payload, Rules(), NOW).subscribe


def refusal(token: str, keys: tuple[Key, ...] = KEYS) -> Refusal:
    with pytest.raises(Refused) as caught:
        accept(token, keys)
    error = caught.value
    # What is told holds nothing of the token, also not in the errors that led to it.
    assert error.__cause__ is None
    assert error.__suppress_context__ or error.__context__ is None
    assert not any(len(part) > 8 and part in error.detail for part in token.split("."))
    assert not {'"', "\\"} & set(error.detail)
    assert error.detail.isascii()
    assert error.detail.isprintable()
    return error.reason


@pytest.mark.parametrize("signer", SIGNERS, ids=lambda signer: signer.algorithm)
def test_a_good_token(signer: Signer) -> None:
    assert accept(signer.sign(CLAIMS)) == Patterns(["a"])


def resigned(change: Callable[[str], str], signer: Signer = ES) -> str:
    return change(signer.sign(CLAIMS))


def confused(signer: Signer, secret: bytes) -> str:
    """Signed by HS256, with a public key for the secret, under that key's name."""
    return hs256(secret, signer.key_id).sign(CLAIMS)


def other_payload(token: str) -> str:
    head, _, signature = token.split(".")
    return ".".join([head, base64url(json.dumps({**CLAIMS, "sub": "1"}).encode()), signature])


def flipped(token: str) -> str:
    """The first bit of the signature is another one."""
    head, payload, signature = token.split(".")
    raw = bytearray(base64.urlsafe_b64decode(signature + "=="))
    raw[0] ^= 0x80
    return ".".join([head, payload, base64url(bytes(raw))])


def shorter(token: str) -> str:
    """Without the last byte of the signature."""
    head, payload, signature = token.split(".")
    return ".".join([head, payload, base64url(base64.urlsafe_b64decode(signature + "==")[:-1])])


def nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


FORGED = [
    # No signature (RFC 8725, section 2.1).
    ("none", compact({"alg": "none"}, CLAIMS, b""), Refusal.MALFORMED),
    ("none with a signature", compact({"alg": "none"}, CLAIMS), Refusal.ALGORITHM),
    ("nOnE", compact({"alg": "nOnE"}, CLAIMS), Refusal.ALGORITHM),
    ("alg in lower case", compact({"alg": "hs256"}, CLAIMS), Refusal.ALGORITHM),
    ("no alg", compact({"typ": "JWT"}, CLAIMS), Refusal.ALGORITHM),
    ("alg null", compact({"alg": None}, CLAIMS), Refusal.ALGORITHM),
    ("alg a list", compact({"alg": ["ES256"]}, CLAIMS), Refusal.ALGORITHM),
    ("alg an object", compact({"alg": {}}, CLAIMS), Refusal.ALGORITHM),
    ("another algorithm of the library", compact({"alg": "HS512"}, CLAIMS), Refusal.ALGORITHM),
    ("PSS with an RSA key", compact({"alg": "PS256", "kid": "rs"}, CLAIMS), Refusal.ALGORITHM),
    # Confusion: a public key for the secret.
    ("RSA key as secret", confused(RS, RS.pem), Refusal.SIGNATURE),
    ("EC key as secret", confused(ES, ES.pem), Refusal.SIGNATURE),
    ("JWK as secret", confused(ES, json.dumps(ES.jwk).encode()), Refusal.SIGNATURE),
    ("Ed25519 key as secret", confused(ED, ED.pem), Refusal.SIGNATURE),
    ("empty secret", hs256(b"").sign(CLAIMS), Refusal.SIGNATURE),
    ("ES256 under the name of an RSA key", ES.sign(CLAIMS, kid="rs"), Refusal.UNKNOWN_KEY),
    ("EdDSA signature that says ES256", ED.sign(CLAIMS, alg="ES256", kid="es"), Refusal.SIGNATURE),
    ("ES256 signature that says EdDSA", ES.sign(CLAIMS, alg="EdDSA", kid="ed"), Refusal.SIGNATURE),
    # Keys.
    ("wrong secret", hs256("x" * 32).sign(CLAIMS), Refusal.SIGNATURE),
    ("wrong key under a known name", Signer("ES256", ES2.private, "es").sign(CLAIMS), Refusal.SIGNATURE),
    ("wrong name of a key", ES.sign(CLAIMS, kid="es2"), Refusal.UNKNOWN_KEY),
    ("a name that is a path", ES.sign(CLAIMS, kid="../../dev/null"), Refusal.UNKNOWN_KEY),
    ("kid a number", ES.sign(CLAIMS, kid=7), Refusal.MALFORMED),
    ("kid an object", ES.sign(CLAIMS, kid={"es": 1}), Refusal.MALFORMED),
    ("kid too long", ES.sign(CLAIMS, kid="x" * 257), Refusal.MALFORMED),
    # Headers that bring a key along, or change what the rest means.
    *(
        (name, ES2.sign(CLAIMS, **{name: value}, kid="es"), Refusal.HEADER)
        for name, value in {
            "jku": "https://evil.example/jwks",
            "jwk": ES2.jwk,
            "x5u": "https://evil.example/pem",
            "x5c": ["MIIB"],
            "crit": ["exp"],
            "b64": False,
        }.items()
    ),
    ("crit unknown", ES.sign(CLAIMS, crit=["x"], x=1), Refusal.HEADER),
    ("crit empty", ES.sign(CLAIMS, crit=[]), Refusal.HEADER),
    ("jku null", ES.sign(CLAIMS, jku=None), Refusal.HEADER),
    # What was changed after it was signed.
    ("another payload", resigned(other_payload), Refusal.SIGNATURE),
    ("another signature", resigned(flipped), Refusal.SIGNATURE),
    ("a signature cut short", resigned(shorter), Refusal.SIGNATURE),
    ("a signature with more behind it", resigned(lambda token: token + "AAAA"), Refusal.SIGNATURE),
    ("r and s of zero", compact({"alg": "ES256", "kid": "es"}, CLAIMS, bytes(64)), Refusal.SIGNATURE),
    (
        "an RSA signature of zeros",
        compact({"alg": "RS256", "kid": "rs"}, CLAIMS, bytes(256)),
        Refusal.SIGNATURE,
    ),
    ("an Ed25519 signature of zeros", compact({"alg": "EdDSA", "kid": "ed"}, CLAIMS), Refusal.SIGNATURE),
    # Not a token.
    ("empty", "", Refusal.MALFORMED),
    ("text", "hello", Refusal.MALFORMED),
    ("two parts", "a.b", Refusal.MALFORMED),
    ("no signature", "e30.e30.", Refusal.MALFORMED),
    ("five parts: encrypted", "a.b.c.d.e", Refusal.MALFORMED),
    ("padding", resigned(lambda token: token + "=="), Refusal.MALFORMED),
    ("a space before", resigned(lambda token: " " + token), Refusal.MALFORMED),
    ("a line feed behind", resigned(lambda token: token + "\n"), Refusal.MALFORMED),
    ("not base64url", resigned(lambda token: token.replace(".", "+.")), Refusal.MALFORMED),
    ("base64url of a bad length", "a.e30.e30", Refusal.MALFORMED),
    ("not ASCII", resigned(lambda token: token + "ä"), Refusal.MALFORMED),
    ("header of no JSON", compact(b"{", CLAIMS), Refusal.MALFORMED),
    ("header a list", compact(["ES256"], CLAIMS), Refusal.MALFORMED),
    ("header of no UTF-8", compact(b'{"alg": "\xff"}', CLAIMS), Refusal.MALFORMED),
    ("header nested deep", compact(nested(1400), CLAIMS), Refusal.MALFORMED),
    (
        "header with a number of 2,500 digits",
        compact(b'{"alg": ' + b"9" * 2500 + b"}", CLAIMS),
        Refusal.ALGORITHM,
    ),
    ("payload nested deep", hs256().sign(nested(1400)), Refusal.MALFORMED),
    ("payload of no JSON", hs256().sign(b"{"), Refusal.MALFORMED),
    ("payload of no UTF-8", hs256().sign(b"\xff"), Refusal.MALFORMED),
    ("payload a string", hs256().sign("x"), Refusal.MALFORMED),
    ("payload empty", "eyJhbGciOiJFUzI1NiJ9..AAAA", Refusal.MALFORMED),
    # Size.
    ("huge", ES.sign({**CLAIMS, "x": "x" * MAX_BYTES}), Refusal.TOO_LARGE),
    ("huge and no token", "x" * 100_000, Refusal.TOO_LARGE),
]


@pytest.mark.parametrize(("token", "wanted"), [pytest.param(*rest, id=name) for name, *rest in FORGED])
def test_a_forged_token_is_refused(token: str, wanted: Refusal) -> None:
    assert refusal(token) is wanted


@pytest.mark.parametrize("signer", [RS, ES, ED], ids=lambda signer: signer.algorithm)
def test_a_public_key_is_never_taken_for_a_secret(signer: Signer) -> None:
    """Also where there is nothing but that key."""
    for keys in (from_file(signer.pem), from_jwks(jwks(signer)), from_file(json.dumps(signer.jwk).encode())):
        [key] = keys
        assert key.algorithm.value == signer.algorithm
        for secret in (signer.pem, signer.pem.strip(), json.dumps(signer.jwk).encode(), b""):
            assert refusal(hs256(secret).sign(CLAIMS), keys) is Refusal.UNKNOWN_KEY


def test_a_secret_is_for_nothing_but_hs256() -> None:
    [key] = [from_secret(SECRET.encode())]
    for algorithm in ("RS256", "ES256", "EdDSA"):
        token = hs256().sign(CLAIMS, alg=algorithm)
        assert refusal(token, (key,)) is Refusal.UNKNOWN_KEY


def test_the_key_decides_the_algorithm_also_where_another_is_asked_for() -> None:
    """`fitting` sees to it already: that is not all that stands between."""
    token = hs256().sign(CLAIMS)
    with pytest.raises(Refused) as caught:
        verify(token, [key for key in KEYS if key.algorithm is Algorithm.ES256])
    assert caught.value.reason is Refusal.ALGORITHM


def test_a_token_of_the_largest_size_is_taken() -> None:
    padding = MAX_BYTES - len(hs256().sign({**CLAIMS, "x": ""}))
    token = max(
        (hs256().sign({**CLAIMS, "x": "x" * n}) for n in range(padding * 3 // 4 - 8, padding * 3 // 4 + 8)),
        key=lambda token: (len(token) <= MAX_BYTES, len(token)),
    )
    assert MAX_BYTES - 4 < len(token) <= MAX_BYTES
    assert accept(token) == Patterns(["a"])


# Which key.


def test_two_issuers_may_use_one_name_for_their_keys() -> None:
    one, two = es256("2024"), es256("2024")
    keys = from_jwks(jwks(one)) + from_file(jwks(two))
    for signer in (one, two):
        assert accept(signer.sign(CLAIMS), keys) == Patterns(["a"])
    assert refusal(Signer("ES256", ES.private, "2024").sign(CLAIMS), keys) is Refusal.SIGNATURE


def test_a_key_without_a_name_is_for_tokens_of_any_name_but_those_of_others() -> None:
    named, nameless = es256("a"), es256()
    keys = from_jwks(jwks(named)) + from_file(nameless.pem)
    assert accept(nameless.sign(CLAIMS, kid="whatever"), keys)
    assert accept(nameless.sign(CLAIMS), keys)
    assert accept(Signer("ES256", named.private).sign(CLAIMS), keys), "a token without a name may be of any"
    assert refusal(nameless.sign(CLAIMS, kid="a"), keys) is Refusal.SIGNATURE


def test_at_most_four_keys_are_tried() -> None:
    signers = [eddsa(str(n)) for n in range(5)]
    nameless = Signer("EdDSA", signers[0].private)
    assert accept(nameless.sign(CLAIMS), from_jwks(jwks(*signers[:4])))
    assert refusal(nameless.sign(CLAIMS), from_jwks(jwks(*signers))) is Refusal.UNKNOWN_KEY
    assert accept(signers[0].sign(CLAIMS), from_jwks(jwks(*signers)))


# Whatever comes.


@given(
    st.text(max_size=300) | st.from_regex(r"[A-Za-z0-9_-]{1,80}(\.[A-Za-z0-9_-]{0,80}){0,4}", fullmatch=True)
)
def test_any_text_is_refused(text: str) -> None:
    with pytest.raises(Refused):
        accept(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)
HEADERS = st.dictionaries(
    st.sampled_from(["alg", "kid", "typ", "crit", "jku", "jwk", "b64", "cty", "x5u"]), JSON, max_size=5
)


@given(HEADERS | JSON, JSON)
def test_any_header_and_payload_is_refused(header: object, payload: object) -> None:
    with pytest.raises(Refused):
        accept(compact(header, payload))


@given(st.integers(0, 3), st.data())
def test_a_token_that_was_changed_anywhere_is_refused(which: int, data: st.DataObject) -> None:
    token = SIGNERS[which].sign(CLAIMS)
    place = data.draw(st.integers(0, len(token) - 1))
    character = data.draw(st.sampled_from("ABCab01_-.= ").filter(lambda c: c != token[place]))
    with pytest.raises(Refused):
        accept(token[:place] + character + token[place + 1 :])


ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


@pytest.mark.parametrize("signer", SIGNERS, ids=lambda signer: signer.algorithm)
def test_a_token_has_one_spelling(signer: Signer) -> None:
    """The last character of a part may hold bits that stand for nothing: they must be zero."""
    token = signer.sign(CLAIMS)
    ends = [place - 1 for place, character in enumerate(token) if character == "."] + [len(token) - 1]
    for place in ends:
        for character in ALPHABET.replace(token[place], ""):
            with pytest.raises(Refused):
                accept(token[:place] + character + token[place + 1 :])
