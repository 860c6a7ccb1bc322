"""Which credential of a request counts, and who may use a cookie."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.auth.credentials import Carrier, Credential, bearer, cookie, credential, may_use_cookie
from gateway.auth.refusals import Refusal, Refused

NAME = "__Host-fanlight"
HOST = "push.example:8080"
APP = "https://app.example"

BEARERS = [
    ([], None),
    ([""], None),
    (["Basic dTpw"], None),
    (["Bearerx y"], None),
    (["Digest bearer"], None),
    (["Bearer abc"], "abc"),
    (["bEARER abc"], "abc"),
    (["Bearer   abc"], "abc"),
    (["Bearer"], ""),
    (["Bearer "], ""),
    (["Bearer a b"], "a b"),
    (["Bearer a\tb"], "a\tb"),
    (["Bearer\tabc"], "\tabc"),
    (["Bearer:abc"], ":abc"),
    (["Bearer=abc"], "=abc"),
    (["Bearer\xa0abc"], "\xa0abc"),
    (["Bearer-x abc"], None),
    (["Bearer.x"], None),
    (["Bearer \udcff"], "\udcff"),
]


@pytest.mark.parametrize(("fields", "wanted"), BEARERS)
def test_the_bearer_of_a_field(fields: list[str], wanted: str | None) -> None:
    assert bearer(fields) == wanted


def test_two_fields_are_refused() -> None:
    for fields in (["Bearer a", "Bearer a"], ["Basic a", "Bearer b"], ["Bearer a", ""]):
        with pytest.raises(Refused) as caught:
            bearer(fields)
        assert caught.value.reason is Refusal.SEVERAL


COOKIES = [
    ([], None),
    ([""], None),
    (["a=1"], None),
    ([f"{NAME}=t"], "t"),
    ([f"a=1; {NAME}=t; b=2"], "t"),
    ([f"a=1;{NAME}=t;b=2"], "t"),
    (["a=1", f"{NAME}=t"], "t"),  # HTTP/2 may split the field (RFC 9113, section 8.2.3)
    ([f'{NAME}="t"'], "t"),
    ([f'{NAME}="'], '"'),
    ([f"{NAME}="], ""),
    ([NAME], ""),
    ([f"{NAME}=a=b"], "a=b"),
    ([f"{NAME.lower()}=t"], None),
    ([f"x{NAME}=t"], None),
    ([f"a={NAME}=t"], None),
    ([f'a="; {NAME}=t; "'], "t"),  # quotes protect nothing (RFC 6265, section 4.1.1)
]


@pytest.mark.parametrize(("fields", "wanted"), COOKIES)
def test_the_cookie_of_a_name(fields: list[str], wanted: str | None) -> None:
    assert cookie(fields, NAME) == wanted


@pytest.mark.parametrize(
    "fields", [[f"{NAME}=a; {NAME}=a"], [f"{NAME}=a", f"{NAME}=b"], [f"{NAME}=a; {NAME}"]]
)
def test_a_cookie_that_may_have_been_planted_is_refused(fields: list[str]) -> None:
    with pytest.raises(Refused) as caught:
        cookie(fields, NAME)
    assert caught.value.reason is Refusal.SEVERAL


WHICH = [
    ([], None, [], None),
    (["Bearer t"], None, [], Credential(Carrier.HEADER, "t")),
    ([], "k", [], Credential(Carrier.TICKET, "k")),
    ([], "", [], Credential(Carrier.TICKET, "")),
    ([], None, [f"{NAME}=c"], Credential(Carrier.COOKIE, "c")),
    # What a browser sends by itself gives way to what somebody chose to send.
    (["Bearer t"], None, [f"{NAME}=c"], Credential(Carrier.HEADER, "t")),
    (["Bearer"], None, [f"{NAME}=c"], Credential(Carrier.HEADER, "")),
    ([], "k", [f"{NAME}=c"], Credential(Carrier.TICKET, "k")),
    (["Basic x"], None, [f"{NAME}=c"], Credential(Carrier.COOKIE, "c")),
    (["Basic x"], "k", [], Credential(Carrier.TICKET, "k")),
    (["Bearer t"], None, [f"{NAME}=c; {NAME}=d"], Credential(Carrier.HEADER, "t")),
]


@pytest.mark.parametrize(("fields", "ticket", "cookies", "wanted"), WHICH)
def test_which_credential_counts(
    fields: list[str], ticket: str | None, cookies: list[str], wanted: Credential | None
) -> None:
    assert credential(fields, ticket, cookies, NAME) == wanted


def test_a_token_and_a_ticket_are_one_too_many() -> None:
    with pytest.raises(Refused) as caught:
        credential(["Bearer t"], "k", [], NAME)
    assert caught.value.reason is Refusal.SEVERAL


def test_without_a_name_no_cookie_is_read() -> None:
    assert credential([], None, ["=c; None=c"], None) is None


def test_a_credential_is_not_shown() -> None:
    assert "canary" not in repr(Credential(Carrier.HEADER, "canary"))


# Origin, Sec-Fetch-Site, allowed origins; whether the cookie counts.
PAGES = [
    # No browser, or one that is too old for Sec-Fetch-Site; a GET of the same origin has no Origin.
    (None, None, [], True),
    (None, "same-origin", [], True),
    (None, "none", [], True),  # typed by the user
    # Embedded by a page of others, as an image: it can't read the answer, but the stream would be held.
    (None, "cross-site", [], False),
    (None, "cross-site", [APP], False),
    (None, "same-site", [APP], False),
    (None, "SAME-ORIGIN", [], False),
    (None, "", [], False),
    # An EventSource with credentials.
    (APP, "cross-site", [APP], True),
    (APP, "same-site", ["https://b.example", APP], True),
    (APP, None, [APP], True),
    (APP, "cross-site", [], False),
    (APP, "same-site", [], False),
    (APP, None, [], False),
    (APP, "cross-site", ["*"], False),
    (APP, "cross-site", ["https://app.example:8443"], False),
    ("https://app.example.evil", "cross-site", [APP], False),
    ("http://app.example", "cross-site", [APP], False),
    ("HTTPS://APP.EXAMPLE", "cross-site", [APP], False),
    ("null", "cross-site", [APP], False),  # a sandboxed frame, a file
    ("null", None, [], False),
    ("", None, [APP], False),
    ("*", "cross-site", ["*"], False),
    # The same origin, as the browser says or as the address shows.
    ("https://push.example", "same-origin", [], True),
    (f"http://{HOST}", None, [], True),
    (f"https://{HOST}", None, [], False),  # behind a proxy with TLS, and an old browser: name it
    ("http://push.example", None, [], False),
    (f"http://{HOST}", "cross-site", [], False),
    (f"http://{HOST}.evil", None, [], False),
]


@pytest.mark.parametrize(("origin", "site", "allowed", "wanted"), PAGES)
def test_whose_page_may_use_the_cookie(
    origin: str | None, site: str | None, allowed: list[str], wanted: bool
) -> None:
    assert may_use_cookie(origin, site, HOST, allowed) is wanted


@given(
    st.lists(st.text(max_size=60), max_size=3),
    st.none() | st.text(max_size=20),
    st.lists(st.text(max_size=60)),
)
def test_any_fields_are_read_or_refused(fields: list[str], ticket: str | None, cookies: list[str]) -> None:
    try:
        found = credential([f"Bearer {text}" for text in fields], ticket, [*cookies, f"{NAME}=x"], NAME)
    except Refused:
        return
    assert found is not None


@given(st.text(alphabet='ab=;" \t', max_size=30))
def test_a_cookie_is_found_as_the_slow_way_finds_it(text: str) -> None:
    values = [
        pair.strip(" \t")[2:]
        for pair in text.split(";")
        if pair.strip(" \t")[:2] == "a=" or pair.strip(" \t") == "a"
    ]
    try:
        found = cookie([text], "a")
    except Refused:
        assert len(values) > 1
    else:
        assert found in (None, *values, *(value[1:-1] for value in values))
        assert (found is None) is (not values)
