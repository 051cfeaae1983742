"""SEC-25: errors contain no paths, statements or traces, and texts of callers cannot control a terminal."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from app.registry.service import Registry
from app.settings import Settings
from tests.serving import Api

EVIL = 'x\n2026-01-01T00:00:00Z error forged\x1b[31m<script>alert(1)</script>\x00"'
INTERNAL = re.compile(
    r"Traceback|File \"|site-packages|sqlalchemy|SELECT |INSERT |\.sock\b|/app/|psycopg", re.IGNORECASE
)


def is_clean(text: str, settings: Settings) -> bool:
    return not INTERNAL.search(text) and settings.data_dir not in text and str(Path.cwd()) not in text


def test_errors_about_hostile_texts(api: Api, settings: Settings) -> None:
    with api.client() as client:
        for reply in (
            client.post("/v1/classify", json={"model": EVIL, "input": "a"}),
            client.post("/v1/classify", json={"model": "mood", EVIL: "a"}),
            client.post("/v1/fine_tuning/jobs", json={"model": EVIL, "training_file": EVIL}),
            client.get(f"/v1/models/{EVIL!r}"),
            client.get("/v1/files/%0A%1b%5B31m%00"),
            client.get("/" + "%1b%5B31m" * 50),
            client.post("/v1/files", data={"purpose": EVIL}, files={"file": (EVIL, b"a")}),
            client.post("/v2/models/x/infer", content=b"{\x1b"),
        ):
            assert 400 <= reply.status_code < 500 and is_clean(reply.text, settings), reply.text
            assert reply.headers["content-type"] == "application/json"
            assert reply.headers["x-content-type-options"] == "nosniff"
            assert "\x1b" not in reply.text and "\n" not in reply.text and "\x00" not in reply.text


def test_an_unexpected_error_shows_only_the_id_of_the_request(
    api: Api, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError(f"SELECT secret FROM {settings.data_dir}")

    monkeypatch.setattr(Registry, "list", fail)
    with api.client() as client:
        reply = client.get("/v1/registry/models", headers={"x-request-id": "of-this-request"})
    assert reply.status_code == 500 and is_clean(reply.text, settings) and "secret" not in reply.text
    assert "of-this-request" in reply.json()["error"]["message"]
