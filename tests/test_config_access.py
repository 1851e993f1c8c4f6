"""What the settings of tokens may be: every mistake is told with its place, and nothing of a key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tokenmaking import jwk, key_set, private, private_pem, token_key

from engine.access import anonymous_may, takes_tokens
from engine.config import report
from engine.configcheck import check
from engine.greeting import greeting
from engine.settings import AccessSettings, ApiKey, ApiSettings, EdgeSettings, Settings, TokenKey

SECRET = "密钥-0123456789-0123456789-012"


def faults(**access: Any) -> list[tuple[str, str]]:
    """Path and problem of what is wrong."""
    return [(fault.path, fault.problem) for fault in check(Settings(access=AccessSettings(**access)))]


@pytest.mark.parametrize("algorithm", ["HS256", "RS256", "ES256", "EdDSA"])
def test_keys_that_are_good(tmp_path: Path, algorithm: str) -> None:
    assert faults(keys=(token_key(algorithm, tmp_path), token_key(algorithm, tmp_path, 1))) == []


@pytest.mark.parametrize(
    ("key", "where", "why"),
    [
        ({"kid": "", "secret": SECRET}, "kid", "1 to 64"),
        ({"kid": "x" * 65, "secret": SECRET}, "kid", "1 to 64"),
        ({"kid": "a\nb", "secret": SECRET}, "kid", "printable"),
        ({"kid": " a", "secret": SECRET}, "kid", "white space"),
        ({"kid": "\ud800", "secret": SECRET}, "kid", "printable"),
        ({"kid": "a"}, "secret", "32 bytes"),
        ({"kid": "a", "secret": "x" * 31}, "secret", "32 bytes"),
        ({"kid": "a", "secret": "\ud800" * 40}, "secret", "UTF-8"),
        ({"kid": "a", "secret": SECRET, "file": "x.pem"}, "file", "not for HS256"),
        ({"kid": "a", "algorithm": "RS256"}, "file", "PEM"),
        ({"kid": "a", "algorithm": "ES256", "file": "missing.pem"}, "file", "no such file"),
        ({"kid": "a", "algorithm": "ES256", "file": "rsa.pem"}, "file", "ES256"),
        ({"kid": "a", "algorithm": "RS256", "file": "private.pem"}, "file", "private key"),
        ({"kid": "a", "algorithm": "RS256", "file": "rsa.pem", "secret": SECRET}, "secret", "not for RS256"),
    ],
)
def test_keys_that_are_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: dict[str, Any], where: str, why: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "RS256-0.pem").unlink(missing_ok=True)
    token_key("RS256", tmp_path)
    (tmp_path / "RS256-0.pem").rename(tmp_path / "rsa.pem")
    (tmp_path / "private.pem").write_bytes(private_pem(private("RS256")))
    ((path, problem),) = faults(keys=(TokenKey(kid="first", secret=SECRET), TokenKey(**key)))
    assert path == f"access.keys[1].{where}"
    assert why in problem


def test_two_keys_of_one_name() -> None:
    keys = TokenKey(kid="a", secret=SECRET), TokenKey(kid="b", secret=SECRET), TokenKey(kid="a", secret=SECRET * 2)
    assert faults(keys=keys) == [("access.keys[2].kid", "must not be listed twice")]


def test_names_of_api_keys() -> None:
    keys = [ApiKey(name=name, sha256="0" * 64) for name in ("shop", "shop", "user:anna", " ", "users")]
    told = [(fault.path, fault.problem) for fault in check(Settings(api=ApiSettings(keys=tuple(keys))))]
    assert [path for path, _ in told] == [f"api.keys[{index}].name" for index in range(4)]
    assert "user:" in told[2][1]


@pytest.mark.parametrize(
    ("jwks", "why"),
    [
        ("missing.json", "no such file"),
        (".", "not a file"),
        ("http://keys.example/jwks", "https"),
        ("http://127.0.0.1.example/jwks", "https"),
        ("ftp://keys.example/jwks", "https"),
        ("file:///etc/passwd", "https"),
        ("https://", "https"),
        ("https://[::1/", ""),
        ("https://keys.example:99999/", "ort"),
        ("https://user:hush@keys.example/", "no user"),
        ("https://keys.example/ä", "https"),
        ("https://keys.example/a b", "https"),
    ],
)
def test_key_sets_that_cannot_be_read(jwks: str, why: str) -> None:
    ((path, problem),) = faults(jwks=jwks)
    assert path == "access.jwks"
    assert why.lower() in problem.lower()
    assert "hush" not in str(check(Settings(access=AccessSettings(jwks=jwks)))[0])


def test_key_sets_that_can(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    file.write_text(key_set(jwk("RS256")))
    for jwks in (
        str(file),
        "https://keys.example/jwks?x=1",
        "http://127.0.0.1:8000/jwks",
        "http://[::1]/",
        "http://localhost/",
    ):
        assert faults(jwks=jwks) == []


def test_a_file_with_mistakes_is_told_without_its_secrets(tmp_path: Path) -> None:
    file = tmp_path / "roomcast.toml"
    for secret in ("hush" * 2, "hush" * 9):
        file.write_text(f'[[access.keys]]\nkid = "a"\nsecret = "{secret}"\nalgorithm = "HS256"\n[limits]\ncomments_burst = 7\n')
        status, text = report(file)
        assert status == (len(secret) < 32)
        assert "access.keys" in text
        assert "hush" not in text


@pytest.mark.parametrize(
    ("access", "may"),
    [
        ({}, "write"),
        ({"secret": SECRET}, "read"),
        ({"keys": (TokenKey(kid="a", secret=SECRET),)}, "read"),
        ({"jwks": "https://keys.example/"}, "read"),
        ({"secret": SECRET, "anonymous": "write"}, "write"),
        ({"anonymous": "read"}, "read"),
        ({"anonymous": "none"}, "none"),
    ],
)
def test_guests_read_where_there_are_tokens_unless_told_otherwise(access: dict[str, Any], may: str) -> None:
    settings = Settings(access=AccessSettings(**access), edge=EdgeSettings(host="0.0.0.0"))
    assert anonymous_may(settings.access) == may
    assert takes_tokens(settings.access) is bool({"secret", "keys", "jwks"} & access.keys())
    assert f"may {'not enter' if may == 'none' else may}" in greeting(settings, "ws://x", 1)
    # A public address must be confirmed where guests write, and only there.
    assert [fault.path for fault in check(settings)] == (["access.anonymous"] if may == "write" else [])
