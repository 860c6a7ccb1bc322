"""The URL of a primary that Sentinel looks after.

    redis+sentinel://[user:password@]host[:26379][,host2[:port2]...]/service[?options]

User and password are those of the Redis servers; `sentinel_username` and `sentinel_password` are options, as
are redis-py's for TLS (`rediss+sentinel://`), which then hold for servers and sentinels. Database 0 may be
written out, `/service/0`. The grammar is that of prefect, docket, langchain and redis-sentinel-url.

Nothing is guessed or left out: what is not understood is refused, and no message holds a user or a password.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl, quote, unquote, urlencode

Address = tuple[str, int]

SCHEMES: Final = ("redis+sentinel", "rediss+sentinel")
DEFAULT_PORT: Final = 26_379
EXAMPLE: Final = "redis+sentinel://host1,host2:26379,host3/mymaster"
_URL: Final = re.compile(r"(rediss?)\+sentinel://([^/?#]*)([^?#]*)(?:\?([^#]*))?", re.ASCII)
_NAME: Final = r"[0-9A-Za-z_-]{1,63}(?:\.[0-9A-Za-z_-]{1,63})*\.?"
"""No label is empty or too long: where Python meets one, it raises an error that is none of the network."""
_HOST: Final = re.compile(rf"(\[[0-9a-fA-F:.]+\]|{_NAME})(?::([0-9]{{1,5}}))?", re.ASCII)
_NAMED: Final = re.compile(rf"[0-9a-fA-F.]*:[0-9a-fA-F:.]*|{_NAME}", re.ASCII)
_PORT: Final = re.compile(r"[0-9]{1,5}", re.ASCII)
_PORTS: Final = range(1, 65_536)
_MOST_HOST: Final = 253
_SERVICE: Final = re.compile(r"[0-9A-Za-z._-]+", re.ASCII)
"""What Sentinel itself takes for a name."""
_OF_SENTINELS: Final = {"sentinel_username": "username", "sentinel_password": "password"}
_TLS: Final = frozenset(
    {
        "ssl_ca_certs",
        "ssl_ca_path",
        "ssl_cert_reqs",
        "ssl_certfile",
        "ssl_check_hostname",
        "ssl_keyfile",
        "ssl_password",
    }
)


def is_sentinel_url(url: str) -> bool:
    """Whether it has one of the two schemes, whatever else it has."""
    return url.partition("://")[0] in SCHEMES


@dataclass(frozen=True, slots=True)
class SentinelUrl:
    """One that has been read."""

    tls: bool
    sentinels: tuple[Address, ...]
    service: str
    """The name that the sentinels know the primary by."""
    server_login: Mapping[str, str] = field(default_factory=dict, repr=False)
    """`username` and `password`, as far as they are given."""
    sentinel_login: Mapping[str, str] = field(default_factory=dict, repr=False)
    options: Mapping[str, str] = field(default_factory=dict, repr=False)
    """redis-py's, for connections to both."""

    @classmethod
    def parse(cls, url: str) -> SentinelUrl:
        """ValueError says what to write instead."""
        match = _URL.fullmatch(url)
        if match is None:
            raise ValueError(f"expected a URL such as {EXAMPLE}, without a fragment")
        scheme, netloc, path, query = match.groups()
        login, _, hosts = netloc.rpartition("@")
        tls = scheme == "rediss"
        options, sentinel_login = _options(query or "", tls=tls)
        return cls(tls, _sentinels(hosts), _service(path), _login(login), sentinel_login, options)

    def server_url(self, address: Address) -> str:
        """For redis-py, of a server that the sentinels have named. A secret."""
        return self._url(address, self.server_login)

    def sentinel_url(self, address: Address) -> str:
        """For redis-py, of a sentinel. A secret."""
        return self._url(address, self.sentinel_login)

    def _url(self, address: Address, login: Mapping[str, str]) -> str:
        host, port = address
        shown = f"[{host}]" if ":" in host else host
        user, password = (quote(login.get(name, ""), safe="") for name in ("username", "password"))
        before = f"{user}:{password}@" if login else ""
        query = f"?{urlencode(self.options)}" if self.options else ""
        return f"{'rediss' if self.tls else 'redis'}://{before}{shown}:{port}/0{query}"


def read_address(host: str, port: str) -> Address:
    """What a sentinel has named. It becomes part of a URL, in which anything but a host could be more than
    one: an option that turns the check of certificates off, say. ValueError where it is no host and port."""
    if (
        len(host) > _MOST_HOST
        or _NAMED.fullmatch(host) is None
        or _PORT.fullmatch(port) is None
        or int(port) not in _PORTS
    ):
        raise ValueError("not a host and a port")
    return host, int(port)


def shown_address(address: Address) -> str:
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _sentinels(hosts: str) -> tuple[Address, ...]:
    found: list[Address] = []
    for item in hosts.split(","):
        match = _HOST.fullmatch(item)
        port = int(match[2] or DEFAULT_PORT) if match is not None else 0
        if match is None or port not in _PORTS:
            # Not the item itself: where an @ is missing, it is a password.
            raise ValueError(
                f"expected sentinels as host or host:port with commas between, such as in {EXAMPLE}; "
                "a password with @, /, ? or # has to be percent-encoded"
            )
        address = match[1].strip("[]"), port
        if address in found:
            raise ValueError("a sentinel is named twice: name each of them once")
        found.append(address)
    return tuple(found)


def _service(path: str) -> str:
    parts = path.split("/")[1:]
    name = parts[0] if parts else ""
    if _SERVICE.fullmatch(name) is None or len(parts) > 2:
        raise ValueError(
            "expected the name of the primary after the sentinels, as in sentinel.conf behind "
            f"`sentinel monitor`, such as in {EXAMPLE}"
        )
    if len(parts) == 2 and parts[1] not in ("", "0"):
        raise ValueError(
            f"expected database 0 or none after {name!r}: pub/sub is shared by all databases; keep "
            "installations apart by their prefix"
        )
    return name


def _login(text: str) -> dict[str, str]:
    user, _, password = text.partition(":")
    if user and not password:
        raise ValueError("expected user:password@ or :password@ before the sentinels")
    return {name: unquote(value) for name, value in (("username", user), ("password", password)) if value}


def _options(query: str, *, tls: bool) -> tuple[dict[str, str], dict[str, str]]:
    """Those for connections, and the login of the sentinels."""
    options: dict[str, str] = {}
    login: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name in options or _OF_SENTINELS.get(name) in login:
            raise ValueError(f"the option {name} is there twice")
        if not value and (name in _TLS or name in _OF_SENTINELS):
            raise ValueError(f"the option {name} is empty: give it a value, or leave it out")
        if name in _OF_SENTINELS:
            login[_OF_SENTINELS[name]] = value
        elif name in _TLS and not tls:
            raise ValueError(f"the option {name} is for rediss+sentinel://")
        elif name in _TLS:
            options[name] = value
        else:
            known = ", ".join([*_OF_SENTINELS, *sorted(_TLS)])
            raise ValueError(f"an option of the URL is none that is known: {known}")
    if "username" in login and "password" not in login:
        raise ValueError("sentinel_username needs sentinel_password")
    return options, login
