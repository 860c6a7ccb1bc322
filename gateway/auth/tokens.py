"""Signed tokens in their compact form (JWS, RFC 7515), up to the bytes that the signature vouches for.

PyJWT checks the signature. What is decided here is which key and which algorithm it is given, and what of a
header is refused before that, after RFC 8725.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from jwt import PyJWS
from jwt.exceptions import InvalidAlgorithmError, InvalidSignatureError, PyJWTError

from gateway.auth.keys import Algorithm, Key
from gateway.auth.refusals import Refusal, Refused
from gateway.protocol import strict_json

_COMPACT: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+", re.ASCII)
_ALGORITHMS: Final = {algorithm.value: algorithm for algorithm in Algorithm}
_FORBIDDEN: Final = frozenset({"b64", "crit", "jku", "jwk", "x5c", "x5u"})
"""By some a token would bring its own key, or make us fetch one (RFC 8725, section 3.10); the others change
the format (RFC 7515, section 4.1.11; RFC 7797)."""
_MOST_KEY_ID: Final = 256
_MOST_TRIED: Final = 4
"""Each key that is tried costs the time of a signature, also for a token that somebody made up."""
_JWS: Final = PyJWS(list(_ALGORITHMS))


@dataclass(frozen=True, slots=True)
class Header:
    """What a token says of its signature. It is not verified yet."""

    algorithm: Algorithm
    key_id: str | None


def read_header(token: str, max_bytes: int) -> Header:
    """Raises `Refused`."""
    if len(token) > max_bytes:
        raise Refused(Refusal.TOO_LARGE, f"The token has more than {max_bytes} characters.")
    if _COMPACT.fullmatch(token) is None:
        raise Refused(Refusal.MALFORMED, "The token is not a JWT: three parts of base64url, dots between.")
    segment = token.partition(".")[0]
    try:
        header = strict_json.parse(base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4)))
    except ValueError:
        header = None
    if not isinstance(header, dict):
        raise Refused(Refusal.MALFORMED, "The token is not a JWT: its header can't be read.")
    if not _FORBIDDEN.isdisjoint(header):
        names = ", ".join(sorted(_FORBIDDEN & header.keys()))
        raise Refused(Refusal.HEADER, f"The token's header has {names}, which this gateway never follows.")
    key_id, algorithm = header.get("kid"), header.get("alg")
    if key_id is not None and not (isinstance(key_id, str) and len(key_id) <= _MOST_KEY_ID):
        raise Refused(
            Refusal.MALFORMED, f"The kid of a token is a string of at most {_MOST_KEY_ID} characters."
        )
    if not isinstance(algorithm, str) or algorithm not in _ALGORITHMS:
        raise Refused(Refusal.ALGORITHM, f"Sign the token by one of {', '.join(_ALGORITHMS)}.")
    return Header(_ALGORITHMS[algorithm], key_id)


def verify(token: str, keys: Sequence[Key]) -> bytes:
    """The token's payload, once one of these keys has vouched for it. Raises `Refused`.

    `keys` are those that fit its header (`gateway.auth.keys.fitting`).
    """
    if not keys:
        raise Refused(Refusal.UNKNOWN_KEY, "The gateway has no key of the token's alg and kid.")
    if len(keys) > _MOST_TRIED:
        raise Refused(
            Refusal.UNKNOWN_KEY, "The gateway has many keys: name the token's one in its header, as kid."
        )
    for key in keys:
        try:
            decoded = _JWS.decode_complete(token, key.material, algorithms=[key.algorithm.value])
        except InvalidSignatureError:
            continue
        except InvalidAlgorithmError:
            raise Refused(Refusal.ALGORITHM, "The token's alg is not that of its key.") from None
        except (PyJWTError, ValueError, RecursionError):
            raise Refused(Refusal.MALFORMED, "The token is not a JWT: it can't be decoded.") from None
        payload: bytes = decoded["payload"]
        return payload
    raise Refused(Refusal.SIGNATURE, "The token's signature is not that of the gateway's key.")
