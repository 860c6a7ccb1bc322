from __future__ import annotations

import pytest

from gateway.protocol.negotiation import accepts_gzip

CASES = [
    # What clients send.
    pytest.param("gzip, deflate, br, zstd", True, id="Chromium and Firefox"),
    pytest.param("gzip, deflate", True, id="node, aiohttp, httpx"),
    pytest.param("gzip", True, id="Go, Java"),
    pytest.param("deflate, gzip, br, zstd", True, id="curl --compressed"),
    pytest.param("br;q=1.0, gzip;q=0.8, *;q=0.1", True, id="weights"),
    pytest.param("identity", False, id="identity"),
    pytest.param("gzip;q=1.0, *;q=0", True, id="gzip only"),
    pytest.param("identity;q=1, *;q=0", False, id="media elements"),
    # Section 12.5.3.
    pytest.param("", False, id="empty, or no field"),
    pytest.param(" , ,", False, id="empty elements"),
    pytest.param("*", True, id="anything"),
    pytest.param("*;q=0", False, id="nothing else"),
    pytest.param("*, gzip;q=0", False, id="anything but"),
    pytest.param("gzip;q=0, *", False, id="anything but, the other way round"),
    pytest.param("deflate, br", False, id="others"),
    pytest.param("gzip;q=0", False, id="refused"),
    pytest.param("gzip;q=0.000", False, id="refused with digits"),
    pytest.param("gzip;q=0.001", True, id="the least weight"),
    pytest.param("gzip;q=1.000", True, id="the largest weight"),
    pytest.param("gzip;q=0.", False, id="a point without digits"),
    pytest.param("gzip;q=1.", True, id="another"),
    pytest.param("gzip;Q=0", False, id="the weight's name has no case"),
    pytest.param("GZip", True, id="a coding's name has no case"),
    pytest.param("deflate,,\tgzip ;\tq=0.5\t,", True, id="white space and empty elements"),
    pytest.param("gzip;q=0.5, identity;q=0.5", True, id="as good as identity"),
    pytest.param("gzip;q=0.5, identity", False, id="identity is preferred"),
    pytest.param("identity;q=0.8, *;q=0.5", False, id="identity is preferred to anything"),
    pytest.param("gzip;q=0.5, identity;q=0", True, id="identity is refused"),
    pytest.param("identity;q=0", False, id="identity is refused, and nothing offered"),
    # Section 8.4.1.3.
    pytest.param("x-gzip", True, id="the old name"),
    pytest.param("X-GZIP;q=0", False, id="the old name refused"),
    pytest.param("gzip, x-gzip;q=0", False, id="both names, the lower weight"),
    pytest.param("gzip;q=0, gzip", False, id="twice, the lower weight"),
    pytest.param("gzip, gzip;q=0", False, id="twice, the other way round"),
    # Not the name.
    pytest.param("gzipped", False, id="a longer name"),
    pytest.param("x-gzip2, notgzip", False, id="other names"),
    pytest.param("br;gzip", False, id="a parameter of another"),
    # Not by the grammar: nothing in it counts.
    *(
        pytest.param(field, False, id=f"malformed {field}")
        for field in (
            "gzip;q=",
            "gzip;q=x",
            "gzip;q=2",
            "gzip;q=1.1",
            "gzip;q=-1",
            "gzip;q=.5",
            "gzip;q=00",
            "gzip;q=0.1234",
            "gzip;q=1e0",
            "gzip;q=0,5",
            "gzip;q =1",
            "gzip;q= 1",
            "gzip;q=٠.٥",
            "gzip;level=1",
            "gzip;q=1;level=1",
            "gzip;",
            "gzip deflate",
            '"gzip"',
            "gzip\n",
            "\xa0gzip",
            "gzip, deflate;q=x",
            ";q=1",
        )
    ),
]


@pytest.mark.parametrize(("field", "wanted"), CASES)
def test_who_takes_gzip(field: str, wanted: bool) -> None:
    assert accepts_gzip(field) is wanted
