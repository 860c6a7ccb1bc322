"""Loads the keys as a node would, and reads the files with certificates."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cryptography import x509

from gateway.auth.keys import BadKeys
from gateway.check.access import Access, CertificateFile, Issuer
from gateway.http.current import Configuration, Current
from gateway.http.jwks import Jwks, NotFetched
from gateway.settings import redact_url

if TYPE_CHECKING:
    from gateway.settings import Settings

_FILES: Final = ("jwks_ca_file", "redis_ca_file")
"""The settings that name files with certificates."""


def look_at_access(settings: Settings) -> Access:
    failure, keys = "", 0
    try:
        keys = len(Configuration.read(settings).keys)
    except BadKeys as error:
        failure = str(error)
    return Access(
        keys=keys,
        failure=failure,
        issuer=_issuer(settings.jwks_url, settings) if settings.jwks_url else None,
        anonymous=bool(settings.anonymous_subscribe),
        certificates=tuple(
            _certificates(name, getattr(settings, name)) for name in _FILES if getattr(settings, name)
        ),
    )


def _issuer(url: str, settings: Settings) -> Issuer:
    async def fetch() -> int:
        current = Current(Configuration(settings, key_file=None, keys=()))  # the issuer's keys alone
        return len(await Jwks(url, current).get())

    address = redact_url(url)
    try:
        return Issuer(address, asyncio.run(fetch()))
    except (NotFetched, BadKeys) as error:
        return Issuer(address, failure=str(error))


def _certificates(setting: str, path: str) -> CertificateFile:
    try:
        found = x509.load_pem_x509_certificates(Path(path).read_bytes())
    except OSError as error:
        return CertificateFile(setting, path, failure=error.strerror or "cannot be read")
    except ValueError:
        return CertificateFile(setting, path, failure="no certificates in PEM")
    return CertificateFile(setting, path, tuple(c.not_valid_after_utc.timestamp() for c in found))
