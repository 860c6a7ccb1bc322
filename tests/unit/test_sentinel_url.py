"""`publisher.sentinel.url`: what is read, and what is refused, with a word on what to write instead."""

from __future__ import annotations

import pytest
from redis.connection import parse_url

from gateway.settings import redact_url
from publisher.connections import trusting
from publisher.sentinel.url import SentinelUrl, is_sentinel_url

CANARY = "CaNaRy"

READ = [
    ("redis+sentinel://a/main", False, [("a", 26379)], "main", {}, {}),
    ("redis+sentinel://a:1,b,c:65535/main", False, [("a", 1), ("b", 26379), ("c", 65535)], "main", {}, {}),
    ("redis+sentinel://a,[::1]:26380/main", False, [("a", 26379), ("::1", 26380)], "main", {}, {}),
    ("redis+sentinel://[fe80::1]/my.main_1", False, [("fe80::1", 26379)], "my.main_1", {}, {}),
    ("rediss+sentinel://a/main/0", True, [("a", 26379)], "main", {}, {}),
    ("redis+sentinel://a/main/", False, [("a", 26379)], "main", {}, {}),
    (
        "redis+sentinel://u%40x:p%3A%2F@a/main?sentinel_username=s&sentinel_password=q%26",
        False,
        [("a", 26379)],
        "main",
        {"username": "u@x", "password": "p:/"},
        {"username": "s", "password": "q&"},
    ),
    ("redis+sentinel://:p@a/main", False, [("a", 26379)], "main", {"password": "p"}, {}),
    (
        "redis+sentinel://u:p:q@a/main",
        False,
        [("a", 26379)],
        "main",
        {"username": "u", "password": "p:q"},
        {},
    ),
]


@pytest.mark.parametrize(("text", "tls", "sentinels", "service", "server", "sentinel"), READ)
def test_what_is_read(
    text: str,
    tls: bool,
    sentinels: list[tuple[str, int]],
    service: str,
    server: dict[str, str],
    sentinel: dict[str, str],
) -> None:
    url = SentinelUrl.parse(text)
    assert is_sentinel_url(text)
    assert (url.tls, list(url.sentinels), url.service) == (tls, sentinels, service)
    assert (url.server_login, url.sentinel_login) == (server, sentinel)
    # And what redis-py makes of it is the same again.
    for made, login in (
        (url.server_url(("h", 7)), server),
        (url.server_url(("::1", 7)), server),
        (url.sentinel_url(("h", 7)), sentinel),
    ):
        parsed = parse_url(made)  # type: ignore[no-untyped-call]
        assert (parsed["host"], parsed["port"], parsed["db"]) in (("h", 7, 0), ("::1", 7, 0))
        assert {name: parsed[name] for name in ("username", "password") if name in parsed} == login
        assert ("connection_class" in parsed) is tls


REFUSED = [
    (f"redis+sentinel:/{CANARY}", "expected a URL such as redis+sentinel://host1,host2:26379,host3/mymaster"),
    (f"redis+sentinel://:{CANARY}@a/main#x", "without a fragment"),
    (f"redis+sentinel://:{CANARY}@/main", "expected sentinels as host or host:port"),
    (f"redis+sentinel://:{CANARY}@a,,b/main", "expected sentinels"),
    (f"redis+sentinel://:{CANARY}@a:0/main", "expected sentinels"),
    (f"redis+sentinel://:{CANARY}@a:65536/main", "expected sentinels"),
    (f"redis+sentinel://:{CANARY}@a b/main", "expected sentinels"),
    (f"redis+sentinel://u:{CANARY}/x@a/main", "has to be percent-encoded"),
    (f"redis+sentinel://:{CANARY}@a,a:26379/main", "named twice"),
    (f"redis+sentinel://:{CANARY}@a", "expected the name of the primary"),
    (f"redis+sentinel://:{CANARY}@a/", "expected the name of the primary"),
    (f"redis+sentinel://:{CANARY}@a/ma in", "expected the name of the primary"),
    (f"redis+sentinel://:{CANARY}@a/main/0/0", "expected the name of the primary"),
    (f"redis+sentinel://:{CANARY}@a/main/1", "expected database 0"),
    (f"redis+sentinel://:{CANARY}@a/0", None),  # a name like another
    (f"redis+sentinel://{CANARY}@a/main", "expected user:password@ or :password@"),
    (
        f"redis+sentinel://a/main?password={CANARY}",
        "known: sentinel_username, sentinel_password",
    ),
    (f"redis+sentinel://a/main?sentinel_pasword={CANARY}", "none that is known"),
    (f"redis+sentinel://a/main?{CANARY}", "none that is known"),
    (f"redis+sentinel://a/main?sentinel_username={CANARY}", "needs sentinel_password"),
    (f"redis+sentinel://a/main?sentinel_password={CANARY}&sentinel_password=x", "there twice"),
    ("redis+sentinel://a/main?sentinel_password=", "is empty"),
    (f"redis+sentinel://:{CANARY}@a/main?ssl_ca_certs=x", "is for rediss+sentinel://"),
    ("rediss+sentinel://a/main?ssl_ca_certs=x&ssl_ca_certs=y", "there twice"),
]


@pytest.mark.parametrize(("text", "said"), REFUSED)
def test_what_is_refused(text: str, said: str | None) -> None:
    if said is None:
        SentinelUrl.parse(text)
        return
    with pytest.raises(ValueError) as caught:
        SentinelUrl.parse(text)
    assert said in str(caught.value)
    assert CANARY not in str(caught.value)


def test_other_urls_are_no_sentinels() -> None:
    for url in ("redis://a/0", "rediss://a", "unix:///a", "sentinel://a", "redis+sentinels://a", "a"):
        assert not is_sentinel_url(url)


def test_what_is_shown_has_no_secret() -> None:
    text = f"rediss+sentinel://u:{CANARY}@a:1,[::1]/main?sentinel_username=s&sentinel_password={CANARY}"
    assert redact_url(text) == "rediss+sentinel://a:1,[::1]:26379/main"
    assert CANARY not in repr(SentinelUrl.parse(text))
    assert CANARY not in redact_url(f"redis+sentinel://{CANARY}/@a")


def test_options_for_tls_hold_for_both(tmp_path: object) -> None:
    url = SentinelUrl.parse("rediss+sentinel://:p@a/main?ssl_check_hostname=false&ssl_ca_certs=%2Fx%20y.pem")
    for made in (url.server_url(("h", 7)), url.sentinel_url(("a", 26379))):
        parsed = parse_url(made)  # type: ignore[no-untyped-call]
        assert (parsed["ssl_ca_certs"], parsed["ssl_check_hostname"]) == ("/x y.pem", False)


def test_a_file_with_authorities_is_for_tls() -> None:
    with pytest.raises(ValueError, match="is for rediss://"):
        trusting("redis+sentinel://a/main", "x.pem")
    with pytest.raises(ValueError, match="names a file with authorities already"):
        trusting("rediss+sentinel://a/main?ssl_ca_certs=y", "x.pem")
