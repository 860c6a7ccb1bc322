"""Keys that tokens are checked with: from a secret, from PEM (RFC 7468), from a JWK or a set (RFC 7517).

A key is for one algorithm, which its own type decides, never a token (RFC 8725, section 3.1): a public key
can't be taken for a secret, nor a secret for a public key.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from jwt import PyJWK
from jwt.exceptions import PyJWTError

from gateway.protocol import strict_json

MIN_SECRET_BYTES: Final = 32
"""Of HS256 (RFC 7518, section 3.2)."""
MOST_KEYS: Final = 100
_RSA_BITS: Final = (2048, 8192)
"""Less is too weak (RFC 7518, section 3.3); the time that more costs is an attacker's to spend."""
_MOST_EXPONENT: Final = 2**32
_MOST_KEY_ID: Final = 256
_PEM: Final = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL)
_PUBLIC_MEMBERS: Final = ("kty", "crv", "x", "y", "n", "e")

PublicKey = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey


class BadKeys(ValueError):
    """No keys that can be used. The message holds nothing of them."""


class Algorithm(Enum):
    """The algorithms that a token may be signed with (RFC 7518, section 3.1; RFC 8037, section 3.1)."""

    HS256 = "HS256"
    RS256 = "RS256"
    ES256 = "ES256"
    EDDSA = "EdDSA"


@dataclass(frozen=True, slots=True)
class Key:
    """A key, and the one algorithm that it is for. `key_id` is its `kid`, where it has one."""

    algorithm: Algorithm
    key_id: str | None
    material: bytes | PublicKey = field(repr=False)


def fitting(keys: Iterable[Key], algorithm: Algorithm, key_id: str | None) -> tuple[Key, ...]:
    """The keys that a token of this algorithm and `kid` may have been signed with.

    A token that names a key is of a key of that name, or, where there is none, of one without a name: a
    secret and a PEM file have none. Two sources may use one name; then both keys are meant. A token that
    names none may be of any.
    """
    able = [key for key in keys if key.algorithm is algorithm]
    if key_id is None:
        return tuple(able)
    named = [key for key in able if key.key_id == key_id]
    return tuple(named or [key for key in able if key.key_id is None])


def from_secret(secret: bytes) -> Key:
    """A secret that tokens are signed with by HS256. Raises `BadKeys`."""
    if len(secret) < MIN_SECRET_BYTES:
        raise BadKeys(f"a secret has at least {MIN_SECRET_BYTES} bytes; make one with: openssl rand -hex 32")
    if b"-----BEGIN" in secret or secret.startswith((b"ssh-", b"ecdsa-", b"{")):
        raise BadKeys("a secret is random text, not a key in PEM, SSH or JWK form: those go into a file")
    return Key(Algorithm.HS256, None, secret)


def from_file(data: bytes) -> tuple[Key, ...]:
    """The keys of a file: public keys or certificates in PEM, a JWK, or a JWK set. Raises `BadKeys`.

    A set that is kept in a file may hold secrets (`oct`), a set from a URL may not.
    """
    if b"-----BEGIN" in data:
        return tuple(_from_pem(match[1], match[0]) for match in _PEM.finditer(data)) or _none("no PEM block")
    parsed = _json(data)
    return _from_set(parsed if "keys" in parsed else {"keys": [parsed]}, secrets=True)


def from_jwks(data: bytes) -> tuple[Key, ...]:
    """The public keys of a JWK set, as an issuer publishes it. Raises `BadKeys`.

    Keys that are not for signatures, or of another algorithm, are left out (RFC 7517, section 5).
    """
    return _from_set(_json(data), secrets=False)


def _json(data: bytes) -> dict[str, Any]:
    try:
        parsed = strict_json.parse(data)
    except ValueError:
        parsed = None
    if not isinstance(parsed, dict):
        raise BadKeys("neither PEM nor a JSON object")
    return parsed


def _from_set(parsed: Mapping[str, Any], *, secrets: bool) -> tuple[Key, ...]:
    members = parsed.get("keys")
    if not isinstance(members, list):
        raise BadKeys("not a JWK set: it has no list of keys")
    if len(members) > MOST_KEYS:
        raise BadKeys(f"{len(members)} keys; at most {MOST_KEYS} are taken")
    keys = [_from_jwk(member, secrets=secrets) for member in members if isinstance(member, dict)]
    return tuple(key for key in keys if key is not None) or _none(
        "no key that can check signatures of RS256 (from 2,048 bits), ES256 or EdDSA (Ed25519)"
        + (f", or HS256 (from {MIN_SECRET_BYTES} bytes)" if secrets else "")
    )


def _none(reason: str) -> tuple[Key, ...]:
    raise BadKeys(reason)


def _from_jwk(jwk: Mapping[str, Any], *, secrets: bool) -> Key | None:
    """None for a key of no use here."""
    algorithm = _algorithm(jwk)
    key_id, operations = jwk.get("kid"), jwk.get("key_ops", ["verify"])
    if algorithm is None or jwk.get("alg", algorithm.value) != algorithm.value:
        return None
    if jwk.get("use", "sig") != "sig" or not isinstance(operations, list) or "verify" not in operations:
        return None
    if key_id is not None and not (isinstance(key_id, str) and 0 < len(key_id) <= _MOST_KEY_ID):
        return None
    secret = algorithm is Algorithm.HS256
    if secret and not secrets:
        return None
    # Of a private key, the public part: it is all that checking takes.
    members = ("kty", "k") if secret else _PUBLIC_MEMBERS
    public = {name: jwk[name] for name in members if name in jwk}
    if len(str(public.get("n", ""))) > _RSA_BITS[1] // 5:  # six bits a character, and some room
        return None
    try:
        material = PyJWK(public, algorithm.value).key
    except (PyJWTError, ValueError, TypeError, KeyError, OverflowError, UnsupportedAlgorithm):
        return None
    if not (len(material) >= MIN_SECRET_BYTES if isinstance(material, bytes) else _fits(material)):
        return None
    return Key(algorithm, key_id, material)


def _algorithm(jwk: Mapping[str, Any]) -> Algorithm | None:
    """By the key's type and curve alone."""
    match jwk.get("kty"), jwk.get("crv"):
        case "oct", None:
            return Algorithm.HS256
        case "RSA", None:
            return Algorithm.RS256
        case "EC", "P-256":
            return Algorithm.ES256
        case "OKP", "Ed25519":
            return Algorithm.EDDSA
    return None


def _fits(key: object) -> bool:
    if not isinstance(key, RSAPublicKey):
        return True
    least, most = _RSA_BITS
    return least <= key.key_size <= most and key.public_numbers().e <= _MOST_EXPONENT


def _from_pem(label: bytes, block: bytes) -> Key:
    if b"PRIVATE" in label:
        raise BadKeys("a private key: the gateway checks tokens, and is to be given the public key only")
    try:
        key: object
        if label == b"CERTIFICATE":
            key = x509.load_pem_x509_certificate(block).public_key()
        else:
            key = load_pem_public_key(block)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise BadKeys("a PEM block that is neither a public key nor a certificate") from None
    match key:
        case RSAPublicKey() if _fits(key):
            return Key(Algorithm.RS256, None, key)
        case EllipticCurvePublicKey() if isinstance(key.curve, SECP256R1):
            return Key(Algorithm.ES256, None, key)
        case Ed25519PublicKey():
            return Key(Algorithm.EDDSA, None, key)
    raise BadKeys("a key of a kind that is not taken: RSA from 2,048 to 8,192 bits, EC P-256 and Ed25519 are")
