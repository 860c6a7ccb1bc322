from __future__ import annotations

import pytest
from multidict import CIMultiDict

from gateway.http.cors import Cors, varied

APP = "https://app.example"
ALLOWED = {
    "Access-Control-Allow-Origin": APP,
    "Access-Control-Allow-Credentials": "true",
    "Vary": "Origin",
}

CASES = [
    pytest.param([], APP, {}, id="off"),
    pytest.param([], None, {}, id="off, same origin"),
    pytest.param([APP], APP, ALLOWED, id="allowed"),
    pytest.param(["https://b.example", APP], APP, ALLOWED, id="one of two"),
    # A cache must not give the answer to one origin to another.
    pytest.param([APP], "https://evil.example", {"Vary": "Origin"}, id="not allowed"),
    pytest.param([APP], None, {"Vary": "Origin"}, id="no origin"),
    pytest.param([APP], "https://app.example.evil", {"Vary": "Origin"}, id="a longer host"),
    pytest.param([APP], "http://app.example", {"Vary": "Origin"}, id="another scheme"),
    pytest.param([APP], "https://app.example:8443", {"Vary": "Origin"}, id="another port"),
    pytest.param([APP], "null", {"Vary": "Origin"}, id="an opaque origin"),
    # Never any origin *with* credentials.
    pytest.param(["*"], "https://evil.example", {"Access-Control-Allow-Origin": "*"}, id="any"),
    pytest.param(["*"], None, {"Access-Control-Allow-Origin": "*"}, id="any, no origin"),
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
        assert {"last-event-id", "authorization", "content-type", "cache-control"} <= set(
            allowed.lower().split(", ")
        )
    else:
        assert methods is None
        assert not allowed


@pytest.mark.parametrize(("origins", "vary"), [([], "Accept-Encoding"), ([APP], "Origin, Accept-Encoding")])
def test_an_answer_may_vary_with_more_than_the_origin(origins: list[str], vary: str) -> None:
    headers = Cors(origins).headers(request(APP))
    assert varied(headers, "Accept-Encoding") == {**headers, "Vary": vary}
