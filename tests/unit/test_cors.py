from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from gateway.http.cors import Cors, varied

APP = "https://app.example"
ALLOWED = {
    "Access-Control-Allow-Origin": APP,
    "Access-Control-Allow-Credentials": "true",
    "Vary": "Origin",
}

NOBODY = {"Vary": "Origin"}
ANYBODY = {"Access-Control-Allow-Origin": "*", "Vary": "Origin"}

CASES = [
    pytest.param([], APP, NOBODY, id="off"),
    pytest.param([], None, NOBODY, id="off, same origin"),
    pytest.param([APP], APP, ALLOWED, id="allowed"),
    pytest.param(["https://b.example", APP], APP, ALLOWED, id="one of two"),
    # A cache must not give the answer to one origin to another.
    pytest.param([APP], "https://evil.example", NOBODY, id="not allowed"),
    pytest.param([APP], None, NOBODY, id="no origin"),
    pytest.param([APP], "https://app.example.evil", NOBODY, id="a longer host"),
    pytest.param([APP], "http://app.example", NOBODY, id="another scheme"),
    pytest.param([APP], "https://app.example:8443", NOBODY, id="another port"),
    pytest.param([APP], "null", NOBODY, id="an opaque origin"),
    # Never any origin *with* credentials.
    pytest.param(["*"], "https://evil.example", ANYBODY, id="any"),
    pytest.param(["*"], None, ANYBODY, id="any, no origin"),
    pytest.param(["*"], "null", ANYBODY, id="any, an opaque origin"),
    pytest.param(["*"], "*", ANYBODY, id="any, which is no origin"),
    pytest.param(["*", APP], APP, ALLOWED, id="any, but one with credentials"),
    pytest.param(["*", APP], "https://evil.example", ANYBODY, id="any, and not that one"),
    # What looks alike is not the same.
    pytest.param([APP], "https://APP.example", NOBODY, id="upper case"),
    pytest.param([APP], "https://app.example/", NOBODY, id="a path"),
    pytest.param([APP], "https://app.example.", NOBODY, id="a dot"),
    pytest.param([APP], "https://app.example:443", NOBODY, id="the port that goes without saying"),
    pytest.param([APP], f"{APP}, {APP}", NOBODY, id="two"),
    pytest.param([APP], f"{APP} https://evil.example", NOBODY, id="a list"),
    pytest.param([APP], "https://sub.app.example", NOBODY, id="a part of it"),
    pytest.param([APP], "", NOBODY, id="empty"),
]


def request(origin: str | None) -> CIMultiDict[str]:
    return CIMultiDict({} if origin is None else {"origin": origin})


@pytest.mark.parametrize(("origins", "origin", "wanted"), CASES)
def test_which_origins_may_read(origins: list[str], origin: str | None, wanted: dict[str, str]) -> None:
    assert Cors(origins).headers(request(origin)) == wanted


@pytest.mark.parametrize(("origins", "origin", "wanted"), CASES)
def test_a_preflight_allows_what_a_request_does(
    origins: list[str], origin: str | None, wanted: dict[str, str]
) -> None:
    headers = Cors(origins).preflight(request(origin), "GET, OPTIONS")
    methods = headers.pop("Access-Control-Allow-Methods", None)
    allowed = headers.pop("Access-Control-Allow-Headers", "")
    headers.pop("Access-Control-Max-Age", None)
    assert headers == wanted
    if "Access-Control-Allow-Origin" in wanted:
        assert methods == "GET, OPTIONS"
        assert {"last-event-id", "authorization", "content-type", "cache-control", "traceparent"} <= set(
            allowed.lower().split(", ")
        )
    else:
        assert methods is None
        assert not allowed


@given(
    allowed=st.lists(st.sampled_from(["*", APP, "http://localhost:3000"])),
    origin=st.none() | st.sampled_from(["*", APP, "http://localhost:3000", "null"]) | st.text(max_size=40),
)
def test_credentials_are_for_named_origins_only(allowed: list[str], origin: str | None) -> None:
    headers = Cors(allowed).headers(request(origin))
    assert headers["Vary"] == "Origin"
    if "Access-Control-Allow-Credentials" in headers:
        assert headers["Access-Control-Allow-Origin"] == origin != "*"
        assert origin in allowed
    else:
        assert headers.get("Access-Control-Allow-Origin") in ("*" if "*" in allowed else None, None)


@pytest.mark.parametrize("origins", [[], [APP]])
def test_an_answer_may_vary_with_more_than_the_origin(origins: list[str]) -> None:
    headers = Cors(origins).headers(request(APP))
    assert varied(headers, "Accept-Encoding") == {**headers, "Vary": "Origin, Accept-Encoding"}
