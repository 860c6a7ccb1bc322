"""Tokens for tests: good ones, made in a line, and forged ones, put together byte by byte.

Nothing here is the gateway's: what signs shares no code with what checks, but for the cryptography itself.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

SECRET = "test-secret-of-more-than-32-bytes-0123456789"


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def compact(header: object, payload: object, signature: bytes | None = None) -> str:
    """Any three parts as a token: bytes as they are, anything else as JSON."""
    parts = [part if isinstance(part, bytes) else json.dumps(part).encode() for part in (header, payload)]
    return ".".join(map(base64url, [*parts, b"\0" * 64 if signature is None else signature]))


@dataclass(frozen=True, slots=True)
class Signer:
    """A key that signs. `algorithm` is the one that it is for."""

    algorithm: str
    private: Any
    key_id: str | None = None

    def signature(self, data: bytes) -> bytes:
        match self.algorithm:
            case "HS256":
                return hmac.digest(self.private, data, hashlib.sha256)
            case "RS256":
                return bytes(self.private.sign(data, padding.PKCS1v15(), SHA256()))
            case "ES256":
                r, s = decode_dss_signature(self.private.sign(data, ec.ECDSA(SHA256())))
                return r.to_bytes(32, "big") + s.to_bytes(32, "big")
            case _:
                return bytes(self.private.sign(data))

    def sign(self, payload: object, **header: object) -> str:
        """A token with exactly this payload. `header` adds to what the key says, and wins over it."""
        own = {"alg": self.algorithm, "typ": "JWT"} | ({"kid": self.key_id} if self.key_id else {})
        unsigned = compact({**own, **header}, payload, b"").removesuffix(".")
        return f"{unsigned}.{base64url(self.signature(unsigned.encode()))}"

    @property
    def pem(self) -> bytes:
        """The public key."""
        pem: bytes = self.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        return pem

    @property
    def jwk(self) -> dict[str, Any]:
        """The public key; of a secret, the secret."""
        named: dict[str, Any] = {"kid": self.key_id} if self.key_id else {}
        match self.algorithm:
            case "HS256":
                return {"kty": "oct", "k": base64url(self.private), **named}
            case "RS256":
                numbers = self.private.public_key().public_numbers()
                n = numbers.n.to_bytes((numbers.n.bit_length() + 7) // 8, "big")
                return {
                    "kty": "RSA",
                    "n": base64url(n),
                    "e": base64url(numbers.e.to_bytes(3, "big")),
                    **named,
                }
            case "ES256":
                numbers = self.private.public_key().public_numbers()
                x, y = (base64url(value.to_bytes(32, "big")) for value in (numbers.x, numbers.y))
                return {"kty": "EC", "crv": "P-256", "x": x, "y": y, **named}
            case _:
                raw = self.private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
                return {"kty": "OKP", "crv": "Ed25519", "x": base64url(raw), **named}


def hs256(secret: str | bytes = SECRET, key_id: str | None = None) -> Signer:
    return Signer("HS256", secret.encode() if isinstance(secret, str) else secret, key_id)


def es256(key_id: str | None = None) -> Signer:
    return Signer("ES256", ec.generate_private_key(ec.SECP256R1()), key_id)


def eddsa(key_id: str | None = None) -> Signer:
    return Signer("EdDSA", ed25519.Ed25519PrivateKey.generate(), key_id)


@functools.cache
def _rsa() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)  # takes its time: one for all


def rs256(key_id: str | None = None) -> Signer:
    return Signer("RS256", _rsa(), key_id)


def jwks(*signers: Signer) -> bytes:
    return json.dumps({"keys": [signer.jwk for signer in signers]}).encode()


def claims(
    subscribe: Sequence[str] = (), publish: Sequence[str] = (), *, seconds: float = 60, **others: object
) -> Mapping[str, object]:
    """Claims that hold for `seconds` from now."""
    own = {"subscribe": list(subscribe), "publish": list(publish)}
    return {"exp": int(time.time() + seconds), "fanlight": own, **others}


def token(subscribe: Sequence[str] = (), publish: Sequence[str] = (), **options: Any) -> str:
    """A good token, by `SECRET`."""
    return hs256().sign(claims(subscribe, publish, **options))
