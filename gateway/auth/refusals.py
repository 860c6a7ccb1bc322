"""Why a request was refused: one closed set for answers, logs and metrics, none of it taken from a token."""

from __future__ import annotations

from enum import Enum


class Refusal(Enum):
    """The reason, as the answer's `reason` and the metric's label tell it."""

    MISSING = "missing"
    """No credential, and not everybody may do this."""
    SEVERAL = "several"
    """More than one credential."""
    MALFORMED = "malformed"
    """Not a signed token in its compact form (RFC 7515, section 7.1)."""
    TOO_LARGE = "too_large"
    HEADER = "header"
    """A header parameter that names a key, or extends the format: never looked at (RFC 8725, 3.10)."""
    ALGORITHM = "algorithm"
    """None of the four, or none that this key is for (RFC 8725, sections 3.1 and 3.2)."""
    NO_KEYS = "no_keys"
    """The gateway has no key at all."""
    UNKNOWN_KEY = "unknown_key"
    SIGNATURE = "signature"
    EXPIRED = "expired"
    NOT_YET_VALID = "not_yet_valid"
    LONG_LIVED = "long_lived"
    """A token that lives for longer than a revocation counts."""
    REVOKED = "revoked"
    CLAIMS = "claims"
    """A claim is missing, or not of the form that it must have."""
    ISSUER = "issuer"
    AUDIENCE = "audience"
    TICKET = "ticket"
    """Unknown, used, or too old: nothing tells these apart."""
    ORIGIN = "origin"
    """The cookie came with a request of a page that may not use it."""
    NOT_GRANTED = "not_granted"
    """The credential is good, and allows something else."""


class Refused(Exception):
    """The request may not do what it asks for.

    `detail` says what to do. It holds nothing of the credential, and no character that could not stand in
    a header's quoted string (RFC 6750, section 3).
    """

    def __init__(self, reason: Refusal, detail: str) -> None:
        self.reason = reason
        self.detail = detail
        super().__init__(f"{reason.value}: {detail}")
