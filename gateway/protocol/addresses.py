"""Whose connection it is: the client's address, from the peer's and from what proxies say.

What a client writes into X-Forwarded-For stands left of what proxies add, so it is read from the right: past
the proxies that are trusted, the next address is the client's, and what is left of that is hearsay. The field
of a peer that is not trusted is not read at all. Of the two fields that there are, one is read: a proxy that
writes one may pass on the other as it came.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from enum import Enum
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final, NewType

Client = NewType("Client", bytes)
"""Who counts as one: an IPv4 address, or the /64 of an IPv6 address, which is what one customer has."""

UNREADABLE: Final = Client(b"")
"""Whoever comes by a Unix socket, with a field that can't be read."""

_Address = IPv4Address | IPv6Address
_PAIR: Final = re.compile(
    r"\s*(?:([!#$%&'*+.^_`|~0-9a-z-]+)=(?:\"((?:[^\"\\]|\\.)*)\"|([^\s\",;]*)))?\s*([;,]|$)",
    re.IGNORECASE | re.ASCII,
)
_WITH_PORT: Final = re.compile(r"\[([^\]]*)\](?::[0-9]{1,5})?|([0-9.]+):[0-9]{1,5}", re.ASCII)


class ForwardedBy(Enum):
    """The field in which proxies tell."""

    X_FORWARDED_FOR = "X-Forwarded-For"
    FORWARDED = "Forwarded"
    """RFC 7239."""


class Proxies:
    """The networks whose word on others' addresses is taken."""

    def __init__(self, networks: Iterable[str], field: ForwardedBy = ForwardedBy.X_FORWARDED_FOR) -> None:
        """ValueError, which names it, for what is not an address or a network such as 10.0.0.0/8."""
        try:
            self._networks = tuple(map(ip_network, networks))
        except ValueError as error:
            raise ValueError(f"expected addresses, or networks such as 10.0.0.0/8: {error}") from None
        self.field = field

    def __bool__(self) -> bool:
        return bool(self._networks)

    def peer(self, peer: str | None) -> Client | None:
        """The peer as a client; None where it is a proxy, or may well be one.

        A Unix socket has no address, and is a proxy's. Where no proxy is named, a peer that is not of the
        public internet is taken for one: thousands may be behind it, and nobody would have to be named for
        a limit that hurts all of them.
        """
        address = _parsed(peer or "")
        if address is None or self._is_proxy(address):
            return None
        return _client(address)

    def client(self, peer: str | None, fields: Sequence[str]) -> Client | None:
        """Whose request it is, by the lines of the field. None: a proxy's own, and so not to be counted.

        Of those whose field can't be read, all that come by one proxy count as one client, the proxy: else it
        would be of use to write what can't be read.
        """
        proxy = _parsed(peer or "")
        if not self._networks or (proxy is not None and not self._trusts(proxy)):
            return self.peer(peer)
        for hop in self._hops(fields):
            address = _parsed(hop)
            if address is None:
                return UNREADABLE if proxy is None else _client(proxy)
            if not self._trusts(address):
                return _client(address)
        return None

    def trusts(self, peer: str | None) -> bool:
        """Whether the peer is a proxy that was named."""
        address = _parsed(peer or "")
        return address is not None and self._trusts(address)

    def _trusts(self, address: _Address) -> bool:
        return any(address in network for network in self._networks)

    def _is_proxy(self, address: _Address) -> bool:
        return self._trusts(address) if self._networks else not address.is_global

    def _hops(self, fields: Sequence[str]) -> Iterator[str]:
        """The nearest first."""
        if self.field is ForwardedBy.X_FORWARDED_FOR:
            return (hop for field in reversed(fields) for hop in reversed(field.split(",")))
        return (hop for field in reversed(fields) for hop in reversed(_forwarded(field)))


def _forwarded(field: str) -> list[str]:
    """The `for` of each element; empty where there is none, or the field can't be read."""
    hops, hop, at = [], "", 0
    while at <= len(field):
        match = _PAIR.match(field, at)
        if match is None:
            return [""]
        name, quoted, plain, end = match.groups()
        if (name or "").lower() == "for":
            hop = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else plain
        if end != ";":
            hops.append(hop)
            hop = ""
        if not end:
            break
        at = match.end()
    return hops


def _parsed(text: str) -> _Address | None:
    """An address as proxies write it: alone, in brackets, with a port."""
    text = text.strip(" \t")
    match = _WITH_PORT.fullmatch(text)
    try:
        address = ip_address((match[1] or match[2] or "") if match else text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _client(address: _Address) -> Client:
    return Client(address.packed[:8])
