"""Which hooks can be set, and what a process loads without any."""

from __future__ import annotations

from typing import Any

import pytest
from test_layering import loaded

from engine.configcheck import check
from engine.hooks.signing import make_secret
from engine.settings import HookSettings, LedgerSettings, Settings

from .product import SECRET

KINDS = ("comment_url", "gift_url", "red_packet_url", "join_url", "spend_url", "events_url")


def faults(*, ledger: str = "sqlite:///账本.db", **hooks: Any) -> dict[str, str]:
    found = check(Settings(hooks=HookSettings(**hooks), ledger=LedgerSettings(url=ledger)))
    return {fault.path: str(fault) for fault in found}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "url", ["https://shop.example.com/hooks?tenant=7", "http://127.0.0.1:8000", "http://[::1]:8000/", "https://u:p@host/"]
)
def test_what_can_be_called(kind: str, url: str) -> None:
    assert not faults(secret=SECRET, **{kind: url})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "url",
    [
        *(
            "ftp://user:pa55@host/",
            "host/pa55",
            "https://",
            "https:///pa55",
            "http://user:pa55@host:99999/",
            "http://host:0/pa55",
        ),
        *("https://host/ pa55", "https://主机/pa55", "https://host/#pa55", "http://host:x/pa55", "http://[pa55/"),
    ],
)
def test_what_cannot(kind: str, url: str) -> None:
    found = faults(secret=SECRET, **{kind: url})
    assert list(found) == [f"hooks.{kind}"]
    assert "pa55" not in found[f"hooks.{kind}"], "it may be a password"


@pytest.mark.parametrize("kind", KINDS)
def test_requests_are_signed(kind: str) -> None:
    found = faults(**{kind: "https://host/"})
    assert list(found) == ["hooks.secret"]
    assert f"hooks.{kind}" in found["hooks.secret"]
    assert not faults(secret=f"{SECRET} {make_secret()}", **{kind: "https://host/"})


@pytest.mark.parametrize("secret", ["pa55word", "whsec_pa55", SECRET[:-1], f"{SECRET} pa55", f"{SECRET},{SECRET}"])
def test_a_secret_that_is_none_is_not_shown(secret: str) -> None:
    found = faults(secret=secret)
    assert list(found) == ["hooks.secret"]
    assert "pa55" not in found["hooks.secret"]
    assert SECRET[:-1] not in found["hooks.secret"]


def test_events_need_a_place_where_they_are_kept() -> None:
    found = faults(secret=SECRET, events_url="https://host/", ledger="")
    assert "ledger.url" in found["hooks.events_url"]


def test_the_http_client_is_loaded_when_there_is_somebody_to_call() -> None:
    code = "import engine.hub, engine.edge, engine.node; from engine.settings import Settings; engine.node.Node(Settings())"
    assert not {name for name in loaded(code) if name.partition(".")[0] in ("httpx", "httpcore", "opentelemetry")}
