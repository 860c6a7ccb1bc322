"""Keys out of files and sets: what is taken, what is left out, what is refused."""

from __future__ import annotations

import datetime
import json
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from gateway.auth.keys import MOST_KEYS, Algorithm, BadKeys, Key, from_file, from_jwks, from_secret
from tests.support.tokens import Signer, base64url, eddsa, es256, hs256, jwks, rs256

ES, ED, RS = es256("es"), eddsa("ed"), rs256("rs")
PUBLIC = [ES, ED, RS]


def named(keys: tuple[Key, ...]) -> list[tuple[str, str | None]]:
    return [(key.algorithm.value, key.key_id) for key in keys]


def public_pem(key: Any) -> bytes:
    pem: bytes = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return pem


def test_a_set() -> None:
    assert named(from_jwks(jwks(*PUBLIC))) == [("ES256", "es"), ("EdDSA", "ed"), ("RS256", "rs")]
    assert named(from_file(jwks(*PUBLIC))) == named(from_jwks(jwks(*PUBLIC)))


@pytest.mark.parametrize("signer", [*PUBLIC, hs256(key_id="hs")], ids=lambda signer: signer.algorithm)
def test_a_single_jwk_in_a_file(signer: Signer) -> None:
    assert named(from_file(json.dumps(signer.jwk).encode())) == [(signer.algorithm, signer.key_id)]


def test_several_pem_blocks_with_text_between() -> None:
    text = b"# old\n" + ES.pem + b"\n# new\n" + RS.pem + ED.pem
    assert named(from_file(text)) == [("ES256", None), ("RS256", None), ("EdDSA", None)]


def test_a_certificate() -> None:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "issuer")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(ES.private.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(ES.private, SHA256())
    )
    assert named(from_file(certificate.public_bytes(Encoding.PEM))) == [("ES256", None)]


def test_of_a_private_jwk_the_public_part_is_taken() -> None:
    d = base64url(ES.private.private_numbers().private_value.to_bytes(32, "big"))
    [key] = from_jwks(json.dumps({"keys": [ES.jwk | {"d": d}]}).encode())
    assert isinstance(key.material, ec.EllipticCurvePublicKey)


def test_no_key_is_shown() -> None:
    key = from_secret(b"s" * 32)
    assert "sss" not in repr(key) + str(key)
    assert key == Key(Algorithm.HS256, None, b"s" * 32)


LEFT_OUT: list[tuple[str, dict[str, Any]]] = [
    ("a secret", hs256(key_id="hs").jwk),
    ("for encryption", ES.jwk | {"use": "enc"}),
    ("not for checking", ES.jwk | {"key_ops": ["sign"]}),
    ("key_ops of no list", ES.jwk | {"key_ops": "verify"}),
    ("another algorithm of its type", RS.jwk | {"alg": "RS512"}),
    ("PSS", RS.jwk | {"alg": "PS256"}),
    ("another curve", ES.jwk | {"crv": "P-384"}),
    ("no curve", {name: value for name, value in ES.jwk.items() if name != "crv"}),
    ("a curve of another type", ED.jwk | {"crv": "P-256"}),
    ("an unknown type", {"kty": "AKP", "alg": "ML-DSA-44", "pub": "AA"}),
    ("no type", {"kid": "x"}),
    ("kid of no string", ES.jwk | {"kid": 7}),
    ("kid empty", ES.jwk | {"kid": ""}),
    ("kid too long", ES.jwk | {"kid": "x" * 257}),
    ("a point that is not on the curve", ES.jwk | {"y": ES.jwk["x"]}),
    ("a coordinate cut short", ES.jwk | {"x": "AAAA"}),
    ("a coordinate of no text", ES.jwk | {"x": 7}),
    ("a coordinate of no base64url", ES.jwk | {"x": "ä" * 43}),
    ("no coordinates", {"kty": "EC", "crv": "P-256"}),
    ("half an Ed25519 key", ED.jwk | {"x": "AAAA"}),
    ("no modulus", {"kty": "RSA", "e": "AQAB"}),
    ("a weak modulus", RS.jwk | {"n": base64url(b"\xc1" * 128)}),
    ("a huge modulus", RS.jwk | {"n": base64url(b"\xc1" * 1100)}),
    ("an enormous modulus", RS.jwk | {"n": "x" * 40_000}),
    ("a huge exponent", RS.jwk | {"e": base64url(b"\x01" * 200)}),
    ("an even exponent", RS.jwk | {"e": base64url(b"\x02")}),
]


@pytest.mark.parametrize("jwk", [pytest.param(jwk, id=name) for name, jwk in LEFT_OUT])
def test_what_is_left_out_of_a_set(jwk: dict[str, Any]) -> None:
    assert named(from_jwks(json.dumps({"keys": [jwk, ED.jwk]}).encode())) == [("EdDSA", "ed")]
    with pytest.raises(BadKeys, match="no key that can check"):
        from_jwks(json.dumps({"keys": [jwk]}).encode())


def test_a_secret_in_a_file_is_taken_where_it_is_long_enough() -> None:
    weak = hs256("x" * 31, "weak")
    assert named(from_file(jwks(hs256("x" * 32, "strong"), weak))) == [("HS256", "strong")]
    with pytest.raises(BadKeys):
        from_file(jwks(weak))


P384 = ec.generate_private_key(ec.SECP384R1())
PRIVATE = ES.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
BAD = [
    ("empty", b"", "neither PEM nor a JSON object"),
    ("text", b"hello", "neither PEM"),
    ("not UTF-8", b"\xff", "neither PEM"),
    ("a list", b"[]", "neither PEM"),
    ("nested deep", b'{"keys":' + b"[" * 100_000, "neither PEM"),
    ("no list", b'{"keys": {}}', "no list of keys"),
    ("an empty list", b'{"keys": []}', "no key that can check"),
    ("no objects", b'{"keys": [1, null, "x", []]}', "no key that can check"),
    ("too many", json.dumps({"keys": [{}] * (MOST_KEYS + 1)}).encode(), "at most 100"),
    ("a private key", PRIVATE, "private key"),
    (
        "a broken block",
        b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
        "neither a public key",
    ),
    ("an open block", b"-----BEGIN PUBLIC KEY-----\nAAAA\n", "no PEM block"),
    ("another block", b"-----BEGIN THING-----\nAAAA\n-----END THING-----\n", "neither a public key"),
    ("P-384", public_pem(P384), "of a kind"),
    ("Ed448", public_pem(ed448.Ed448PrivateKey.generate()), "of a kind"),
    ("weak RSA", public_pem(rsa.generate_private_key(65537, 1024)), "of a kind"),
]


@pytest.mark.parametrize(("data", "said"), [pytest.param(*rest, id=name) for name, *rest in BAD])
def test_a_file_without_keys_is_refused(data: bytes, said: str) -> None:
    with pytest.raises(BadKeys, match=said):
        from_file(data)


@pytest.mark.parametrize(
    "secret", [b"", b"x" * 31, ES.pem, b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI", json.dumps(ES.jwk).encode()]
)
def test_a_secret_that_is_none(secret: bytes) -> None:
    with pytest.raises(BadKeys):
        from_secret(secret)


MEMBERS = st.sampled_from(["kty", "crv", "x", "y", "n", "e", "d", "k", "kid", "alg", "use", "key_ops"])
VALUES = (
    st.sampled_from(["EC", "RSA", "OKP", "oct", "P-256", "Ed25519", "ES256", "sig", "AQAB", "A" * 43])
    | st.text(max_size=60)
    | st.none()
    | st.integers()
    | st.lists(st.text(max_size=8), max_size=3)
)


@given(st.lists(st.dictionaries(MEMBERS, VALUES, max_size=8), max_size=4))
def test_any_set_is_read_or_refused(members: list[dict[str, Any]]) -> None:
    data = json.dumps({"keys": members}).encode()
    for read in (from_file, from_jwks):
        try:
            keys = read(data)
        except BadKeys:
            continue
        assert all(key.algorithm in Algorithm for key in keys)
        assert read is from_file or all(key.algorithm is not Algorithm.HS256 for key in keys)


@given(
    st.binary(max_size=300) | st.binary(max_size=200).map(lambda data: b"-----BEGIN PUBLIC KEY-----" + data)
)
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for read in (from_file, from_jwks):
        with pytest.raises(BadKeys):
            read(data)
