"""`fanlight token`: what it makes is what a gateway takes, and what it tells is why it does not."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import pytest

from gateway.cli import main
from tests.support.issuer import Issuer
from tests.support.tokens import SECRET, claims, compact, es256, hs256, jwks, token


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in os.environ:
        if name.startswith("FANLIGHT_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("FANLIGHT_JWT_SECRET", SECRET)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))  # nobody's fanlight dev


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    status = main(["token", *words])
    said = capsys.readouterr()
    return status, said.out, said.err


def explained(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, text: str
) -> tuple[int, dict[str, str]]:
    """The exit status, and the lines by their first words."""
    monkeypatch.setattr("sys.stdin", io.StringIO(text + "\n"))
    status, out, _ = run(capsys, "--explain", "-")
    rows = (line.partition(" ") for line in out.splitlines() if not line.startswith(" "))
    return status, {name: rest.strip() for name, _, rest in rows}


def test_what_it_makes_it_explains(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FANLIGHT_JWT_ISSUER", "me,you")
    monkeypatch.setenv("FANLIGHT_JWT_AUDIENCE", "fanlight")
    monkeypatch.setenv("FANLIGHT_PERSONAL_CHANNEL", "user.{sub}")
    patterns = ["--subscribe", "orders.42", "--subscribe", "public.*", "--publish", "chat.*"]
    status, made, err = run(capsys, *patterns, "--sub", "42", "--seconds", "90")
    assert (status, err) == (0, "")
    status, told = explained(capsys, monkeypatch, made.strip())
    assert status == 0
    found = json.loads(told["claims"])
    assert found.pop("exp") - found.pop("iat") == 90
    assert found.pop("jti")
    assert found == {
        "iss": "me",
        "aud": "fanlight",
        "sub": "42",
        "fanlight": {"subscribe": ["orders.42", "public.*"], "publish": ["chat.*"]},
    }
    assert told["subscribe"] == "orders.42, public.*, user.42"
    assert told["publish"] == "chat.*"
    assert json.loads(told["header"])["alg"] == "HS256"
    assert "UTC, in" in told["expires"]


REFUSED: list[tuple[str, Any, str]] = [
    ("expired", lambda: token(["a"], seconds=-1), "expired: The token has expired"),
    ("other secret", lambda: hs256("x" * 32).sign(claims(["a"])), "signature: "),
    ("another kind of key", lambda: es256().sign(claims(["a"])), "unknown_key: "),
    ("unsigned", lambda: compact({"alg": "none"}, claims(["a"])), "algorithm: "),
    ("for others", lambda: token(["a"], aud="x"), "audience: "),
    ("no token", lambda: "hello", "malformed: "),
    ("nothing", lambda: "", "malformed: "),
    ("control characters", lambda: "\x1b[31m.\x07.x", "malformed: "),
]


@pytest.mark.parametrize(("make", "why"), [pytest.param(*rest, id=name) for name, *rest in REFUSED])
def test_it_tells_why_a_token_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, make: Any, why: str
) -> None:
    status, told = explained(capsys, monkeypatch, make())
    assert status == 1
    assert told["refused"].startswith(why)
    assert not {"expires", "subscribe", "publish"} & told.keys()
    assert "".join(told.values()).isprintable()


def test_it_reads_a_file_and_the_keys_of_an_issuer(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    signer, path = es256("k"), tmp_path / "token"
    path.write_text(signer.sign(claims(["a"])))
    with Issuer(tmp_path) as issuer:
        issuer.publish(signer)
        monkeypatch.setenv("FANLIGHT_JWKS_URL", issuer.url)
        monkeypatch.setenv("FANLIGHT_JWKS_CA_FILE", str(issuer.ca_file))
        status, out, _ = run(capsys, "--explain", str(path))
        assert status == 0
        assert "subscribe a\n" in out
    status, out, _ = run(capsys, "--explain", str(path))
    assert status == 1
    assert f"refused   the keys at {issuer.url} can't be fetched" in out


def test_it_takes_the_keys_of_a_file(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    signer, keys = es256("k"), tmp_path / "keys.json"
    keys.write_bytes(jwks(signer))
    monkeypatch.setenv("FANLIGHT_JWT_KEYS_FILE", str(keys))
    assert explained(capsys, monkeypatch, signer.sign(claims(["a"])))[0] == 0
    keys.write_text("nothing")
    status, _, err = run(capsys, "--explain", "-")
    assert (status, err) == (2, "fanlight token: jwt_keys_file: neither PEM nor a JSON object\n")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--subscribe", "a b"], "bad pattern 'a b'"),
        (["--publish", "fanlight.x"], "reserved"),
        (["--subscribe", "x" * 128, "--sub", "y" * 4000], "the gateway takes 4,096"),
        (["--explain", "/nowhere/token"], "cannot read /nowhere/token"),
    ],
)
def test_what_is_wrong_is_told(capsys: pytest.CaptureFixture[str], words: list[str], said: str) -> None:
    status, out, err = run(capsys, *words)
    assert (status, out) == (2, "")
    assert said in err


def test_without_a_secret_it_says_what_to_set(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FANLIGHT_JWT_SECRET")
    status, _, err = run(capsys)
    assert status == 2
    assert "FANLIGHT_JWT_SECRET" in err
    status, told = explained(capsys, monkeypatch, token(["a"]))
    assert (status, told["refused"].startswith("the settings hold nothing")) == (1, True)
