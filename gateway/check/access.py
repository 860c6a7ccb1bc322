"""What tokens are checked with: keys, their issuer, certificates that end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gateway.check.findings import Finding, fault, note, ok, warning

_DAY_SECONDS: Final = 86_400
_SOON_SECONDS: Final = 30 * _DAY_SECONDS


@dataclass(frozen=True, slots=True)
class Issuer:
    """The address of a JWK set, and what a fetch brought."""

    address: str
    """Without what may be secret in it."""
    keys: int = 0
    failure: str = ""


@dataclass(frozen=True, slots=True)
class CertificateFile:
    """A file that a setting names. `ends_at` are its certificates' ends, in Unix seconds."""

    setting: str
    path: str
    ends_at: tuple[float, ...] = ()
    failure: str = ""


@dataclass(frozen=True, slots=True)
class Access:
    """What was found out. `failure` names the setting whose keys are no good."""

    keys: int = 0
    failure: str = ""
    issuer: Issuer | None = None
    anonymous: bool = False
    """Somebody may subscribe without a token."""
    certificates: tuple[CertificateFile, ...] = ()


def judge(access: Access, now: float) -> list[Finding]:
    """`now` is in Unix seconds."""
    found = [*_keys(access), *([] if access.issuer is None else [_issuer(access.issuer)])]
    return found + [_certificates(file, now) for file in access.certificates]


def _keys(access: Access) -> list[Finding]:
    if access.failure:
        return [fault("keys", access.failure, "mend the file or the setting: with it, no node starts")]
    if access.keys:
        return [ok("keys", f"{_count(access.keys, 'key')} of jwt_secret and jwt_keys_file")]
    if access.issuer is not None:
        return []
    if access.anonymous:
        return [note("keys", "none: who may subscribe is anonymous_subscribe's alone")]
    advice = "set jwt_secret, jwt_keys_file or jwks_url, or anonymous_subscribe"
    return [warning("keys", "none, and no anonymous_subscribe: nobody may subscribe", advice)]


def _issuer(issuer: Issuer) -> Finding:
    if issuer.failure:
        advice = (
            "look at jwks_url, jwks_ca_file and the way to it: until it answers, its tokens can't be checked"
        )
        return fault("jwks_url", f"no keys from {issuer.address}: {issuer.failure}", advice)
    return ok("jwks_url", f"{_count(issuer.keys, 'key')} from {issuer.address}")


def _certificates(file: CertificateFile, now: float) -> Finding:
    if file.failure:
        return fault(file.setting, f"{file.path}: {file.failure}", "name a file with certificates in PEM")
    good = sorted(end for end in file.ends_at if end > now)
    if not good:
        return fault(file.setting, f"{file.path}: every certificate has ended", "renew it")
    days = int((good[0] - now) / _DAY_SECONDS)
    text = f"{file.path}: {_count(len(file.ends_at), 'certificate')}, the next ends in {_count(days, 'day')}"
    if good[0] - now < _SOON_SECONDS:
        return warning(file.setting, text, "renew it")
    ended = len(file.ends_at) - len(good)
    return note(file.setting, f"{text}; {ended} ended", "drop these") if ended else ok(file.setting, text)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
