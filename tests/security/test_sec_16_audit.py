"""SEC-16: the audit log records who changed what. Operators can read it, and no key can change it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from app.db import audit
from app.settings import Settings
from tests.full_databases import full
from tests.security.attacks import MODELS, checkpoint, code, upload
from tests.serving import Api, wait_until

SECRETS = {"ann": "secret-of-ann", "ops": "secret-of-ops"}


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def settings(request: pytest.FixtureRequest, settings: Settings) -> Settings:
    url = "" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    keys = ",".join(f"{name}:{secret}" for name, secret in SECRETS.items())
    scopes = "ann:train+registry,ops:operator"
    return msgspec.structs.replace(settings, database_url=url, api_keys=keys, key_scopes=scopes)


@pytest.fixture
def clients(api: Api) -> Iterator[tuple[httpx.Client, httpx.Client]]:
    with api.client(SECRETS["ann"]) as ann, api.client(SECRETS["ops"]) as ops:
        yield ann, ops


def test_changes_are_recorded(clients: tuple[httpx.Client, httpx.Client], tmp_path: Path) -> None:
    ann, ops = clients
    assert upload(ann, checkpoint(tmp_path / "checkpoint")).status_code == 200
    file = ann.post("/v1/files", data={"purpose": "fine-tune"}, files={"file": ("a.csv", b"a,b\n1,2\n")}).json()["id"]
    ann.put(f"{MODELS}/mood/aliases/live", json={"version": 1}, headers={"x-request-id": "the-move"})
    ann.put(f"{MODELS}/mood/aliases/live", json={"version": 9})  # refused, so it changes nothing
    ann.get(MODELS)
    ann.delete(f"{MODELS}/mood/aliases/live")
    wait_until(lambda: len(ops.get("/v1/audit").json()["data"]) == 4)
    entries = ops.get("/v1/audit", params={"order": "asc"}).json()["data"]
    assert [(e["principal"], e["method"], e["subject"]) for e in entries] == [
        ("ann", "POST", "mood:1"),
        ("ann", "POST", file),
        ("ann", "PUT", "mood@live"),
        ("ann", "DELETE", "mood@live"),
    ]
    assert entries[2]["path"] == f"{MODELS}/mood/aliases/live"
    assert (entries[2]["request_id"], entries[2]["status"]) == ("the-move", 200)
    page = ops.get("/v1/audit", params={"after": entries[1]["id"], "limit": 1}).json()
    assert page["data"] == [entries[0]] and not page["has_more"]
    assert code(ops.get("/v1/audit", params={"after": 10**18})) == "audit_entry_not_found"


def test_only_operators_read_the_log_and_nobody_changes_it(clients: tuple[httpx.Client, httpx.Client]) -> None:
    ann, ops = clients
    assert code(ann.get("/v1/audit")) == "missing_scope"
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        assert ops.request(method, "/v1/audit").status_code == 405


def test_changes_wait_for_the_database(
    api: Api, clients: tuple[httpx.Client, httpx.Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    if api.services.database.dialect != "sqlite":
        pytest.skip("the full database is an SQLite file")
    _, ops = clients
    with full(api.services.database):
        api.services.audit.add("ann", "POST", "/x" * 5000, b"", 200, "r" * 64)
    wait_until(lambda: [e["principal"] for e in ops.get("/v1/audit").json()["data"]] == ["ann"])


def test_an_unexpected_error_does_not_end_the_log(
    api: Api, clients: tuple[httpx.Client, httpx.Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, ops = clients
    real, failures = audit.append, [PermissionError("no INSERT")]

    def append(*arguments: Any) -> None:
        if failures:
            raise failures.pop()
        real(*arguments)

    monkeypatch.setattr(audit, "append", append)
    api.services.audit.add("ann", "POST", "/x", b"", 200, "r")
    wait_until(lambda: [e["principal"] for e in ops.get("/v1/audit").json()["data"]] == ["ann"])
    assert not failures
