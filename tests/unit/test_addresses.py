"""Whose request it is: what is believed of the peer, and of what proxies say."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.protocol.addresses import UNREADABLE, Client, ForwardedBy, Proxies

NETWORKS = ["10.0.0.0/8", "192.168.1.1", "fd00::/8"]
TRUSTED = Proxies(NETWORKS)
FORWARDED = Proxies(NETWORKS, ForwardedBy.FORWARDED)
NOBODY = Proxies([])


def client(text: str | None) -> Client | None:
    if text is None:
        return None
    return Client(ip_address(text).packed[:8]) if text else UNREADABLE


X_FORWARDED_FOR: list[tuple[str | None, Sequence[str], str | None]] = [
    # Nobody in between.
    ("203.0.113.7", [], "203.0.113.7"),
    ("2001:db8:1:2:3:4:5:6", [], "2001:db8:1:2::"),
    ("::ffff:203.0.113.7", [], "203.0.113.7"),
    # What somebody says who is not trusted.
    ("203.0.113.7", ["198.51.100.1"], "203.0.113.7"),
    ("2001:db8::1", ["198.51.100.1"], "2001:db8::1"),
    # One proxy, or several.
    ("10.0.0.1", ["203.0.113.7"], "203.0.113.7"),
    ("::ffff:10.0.0.1", ["203.0.113.7"], "203.0.113.7"),
    ("fd00::5", ["203.0.113.7"], "203.0.113.7"),
    ("10.0.0.1", ["203.0.113.7, 10.0.0.2"], "203.0.113.7"),
    ("10.0.0.1", ["203.0.113.7,192.168.1.1 ,\t10.9.9.9"], "203.0.113.7"),
    ("10.0.0.1", ["203.0.113.7", "10.0.0.2"], "203.0.113.7"),
    # The rightmost that is not trusted: what is left of it anybody may have written.
    ("10.0.0.1", ["1.2.3.4, 203.0.113.7"], "203.0.113.7"),
    ("10.0.0.1", ["10.0.0.9, 203.0.113.7, 10.0.0.2"], "203.0.113.7"),
    ("10.0.0.1", ["not an address, 203.0.113.7"], "203.0.113.7"),
    ("10.0.0.1", ["1.2.3.4", "203.0.113.7"], "203.0.113.7"),
    # As some proxies write it.
    ("10.0.0.1", ["203.0.113.7:4711"], "203.0.113.7"),
    ("10.0.0.1", ["[2001:db8:1:2::9]:4711"], "2001:db8:1:2::"),
    ("10.0.0.1", ["[2001:db8:1:2::9]"], "2001:db8:1:2::"),
    ("10.0.0.1", ["2001:db8:1:2::9"], "2001:db8:1:2::"),
    ("10.0.0.1", ["::ffff:203.0.113.7"], "203.0.113.7"),
    ("10.0.0.1", ["[::ffff:203.0.113.7]:1"], "203.0.113.7"),
    # Nothing that can be read: all who come like that by this proxy are one.
    ("10.0.0.1", ["unknown"], "10.0.0.1"),
    ("10.0.0.1", [""], "10.0.0.1"),
    ("10.0.0.1", ["203.0.113.7,"], "10.0.0.1"),
    ("10.0.0.1", ["203.0.113.7, 203.0.113"], "10.0.0.1"),
    ("10.0.0.1", ["203.0.113.7:99999999"], "10.0.0.1"),
    ("10.0.0.1", ["203.0.113.07"], "10.0.0.1"),
    ("10.0.0.1", ["203.0.113.7/32"], "10.0.0.1"),
    ("10.0.0.1", ["\u0661.2.3.4"], "10.0.0.1"),
    # The proxy itself, or another of ours.
    ("10.0.0.1", [], None),
    ("10.0.0.1", ["10.0.0.2, 10.0.0.3"], None),
    # A Unix socket, which has no address.
    (None, ["203.0.113.7"], "203.0.113.7"),
    ("", ["1.2.3.4, 203.0.113.7"], "203.0.113.7"),
    (None, [], None),
    (None, ["unknown"], ""),
]


@pytest.mark.parametrize(("peer", "fields", "expected"), X_FORWARDED_FOR)
def test_whose_request_it_is(peer: str | None, fields: Sequence[str], expected: str | None) -> None:
    assert TRUSTED.client(peer, fields) == client(expected)


RFC_7239: list[tuple[Sequence[str], str | None]] = [
    (["for=203.0.113.7"], "203.0.113.7"),
    (["For=203.0.113.7;proto=https;by=10.0.0.1"], "203.0.113.7"),
    (["by=10.0.0.1 ; for=203.0.113.7"], "203.0.113.7"),
    (['for="203.0.113.7:4711"'], "203.0.113.7"),
    (['for="[2001:db8:1:2::9]:4711"'], "2001:db8:1:2::"),
    (['for="203.0.113.\\7"'], "203.0.113.7"),
    (["for=1.2.3.4, for=203.0.113.7"], "203.0.113.7"),
    (["for=1.2.3.4", "for=203.0.113.7, for=10.0.0.2"], "203.0.113.7"),
    (['host="a,for=1.2.3.4", for=203.0.113.7;host="b;for=1.2.3.4"'], "203.0.113.7"),
    (['host="\\",for=1.2.3.4";for=203.0.113.7'], "203.0.113.7"),
    (["for=unknown"], "10.0.0.1"),
    (["for=_hidden"], "10.0.0.1"),
    (["proto=https"], "10.0.0.1"),
    (["for=203.0.113.7, proto=https"], "10.0.0.1"),
    (['for="203.0.113.7'], "10.0.0.1"),
    (['for=", for=203.0.113.7'], "10.0.0.1"),
    (["203.0.113.7"], "10.0.0.1"),
    ([""], "10.0.0.1"),
    ([], None),
]


@pytest.mark.parametrize(("fields", "expected"), RFC_7239)
def test_whose_request_it_is_by_forwarded(fields: Sequence[str], expected: str | None) -> None:
    assert FORWARDED.client("10.0.0.1", fields) == client(expected)


@pytest.mark.parametrize(
    ("proxies", "peer", "expected"),
    [
        (TRUSTED, "203.0.113.7", "203.0.113.7"),
        (TRUSTED, "127.0.0.1", "127.0.0.1"),
        (TRUSTED, "10.0.0.1", None),
        (TRUSTED, None, None),
        # Without a list, only an address of the public internet is surely a client's.
        (NOBODY, "8.8.8.8", "8.8.8.8"),
        (NOBODY, "2606:4700::1", "2606:4700::"),
        (NOBODY, "127.0.0.1", None),
        (NOBODY, "::1", None),
        (NOBODY, "172.18.0.5", None),
        (NOBODY, "100.64.0.1", None),
        (NOBODY, "fe80::1%2", None),
        (NOBODY, "::ffff:10.0.0.1", None),
        (NOBODY, "", None),
    ],
)
def test_which_peer_is_a_client(proxies: Proxies, peer: str | None, expected: str | None) -> None:
    assert proxies.peer(peer) == client(expected)
    assert proxies.client(peer, []) == client(expected)


def test_without_a_list_nobody_is_believed() -> None:
    assert NOBODY.client("127.0.0.1", ["203.0.113.7"]) is None
    assert NOBODY.client("8.8.8.8", ["203.0.113.7"]) == client("8.8.8.8")


def test_a_bad_network_is_refused() -> None:
    with pytest.raises(ValueError, match="localhost"):
        Proxies(["localhost"])


@given(st.lists(st.text(max_size=60), max_size=4))
def test_whatever_is_written_there_reads_as_somebody(fields: list[str]) -> None:
    for proxies in (TRUSTED, FORWARDED):
        found = proxies.client("10.0.0.1", fields)
        assert found is None or len(found) in (4, 8)


@given(st.text(max_size=60))
def test_nothing_that_a_client_writes_hides_it_from_its_proxy(text: str) -> None:
    """A proxy that appends tells the truth at the right end, whatever is before it on the line."""
    assert TRUSTED.client("10.0.0.1", [f"{text}, 203.0.113.7"]) == client("203.0.113.7")
