"""If a quota is used up, or the database or the engine is unavailable, every route returns a documented status."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from app.api.http.auth import PUBLIC
from app.db.database import Database
from app.settings import Settings
from tests.contracts.api.examples import OPERATIONS, Reader, document, examples
from tests.serving import Api, Shelf, engine_of

pytestmark = pytest.mark.long

SECRET = "a-secret-of-the-test"
INFERENCE = ("/v1/classify", "/v1/completions", "/generate", "/predict", "/v2/models/{name}/infer", "/api/generate")


@dataclass(frozen=True)
class Call:
    """A request to one operation, with objects that exist."""

    method: str
    path: str
    target: str
    query: dict[str, Any]
    content: dict[str, Any]

    def send(self, client: httpx.Client) -> int:
        """Send the request, and check that the OpenAPI document lists the status of the reply for its route."""
        with client.stream(self.method, self.target, params=self.query, **self.content) as reply:
            documented = document()["paths"][self.path][self.method]["responses"]
            assert str(reply.status_code) in documented, (self.method, self.path, reply.read())
        return reply.status_code


def calls_of(reader: Reader) -> list[Call]:
    """One request to each operation."""
    calls = []
    for method, path, _ in OPERATIONS:
        operation = document()["paths"][path][method]
        media, value = next(examples(operation))
        is_form = media == "multipart/form-data"
        target, query, body = reader.target(path, operation, None if is_form else value)
        content = reader.form(value) if is_form else {} if body is None else {"json": body}
        calls.append(Call(method, path, target, query, content))
    return calls


def send_all(client: httpx.Client, calls: list[Call]) -> dict[tuple[str, str], int]:
    return {(call.method, call.path): call.send(client) for call in calls}


def prepared(api: Api, shelf: Shelf, scratch: Path) -> list[Call]:
    with api.client() as client:
        return calls_of(Reader(client, shelf, scratch))


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return msgspec.structs.replace(settings, webhook_networks="127.0.0.1", load_timeout=0.5)


def test_a_key_without_requests_left(settings: Settings) -> None:
    limited = msgspec.structs.replace(settings, api_keys=f"me:{SECRET}", key_quotas="me:requests=1")
    calls = [Call(method, path, path.replace("{", "").replace("}", ""), {}, {}) for method, path, _ in OPERATIONS]
    with Api(limited) as api, api.client(SECRET) as client:
        assert client.get("/v1/models").status_code == 200
        statuses = send_all(client, calls)
    assert {place for place, status in statuses.items() if status != 429} <= {("get", path) for path in PUBLIC}


def test_a_key_that_may_queue_no_more_jobs(settings: Settings, shelf: Shelf) -> None:
    shelf.classifier(owner="me")
    limited = msgspec.structs.replace(settings, api_keys=f"me:{SECRET}", key_quotas="me:queued=1")
    with Api(limited) as api, api.client(SECRET) as client:
        ids = [
            client.post("/v1/files", data={"purpose": purpose}, files={"file": ("a.csv", b"text,label\na,b\n")}).json()
            for purpose in ("fine-tune", "batch")
        ]
        table, requests = (item["id"] for item in ids)
        batch = {"input_file_id": requests, "endpoint": "/v1/embeddings", "completion_window": "24h"}
        bodies: dict[str, dict[str, Any]] = {
            "/v1/fine_tuning/jobs": {"model": "rnn", "training_file": table},
            "/v1/evaluations": {"model": "mood", "file": table},
            "/v1/batches": batch,
        }
        assert client.post("/v1/batches", json=batch).status_code == 200
        calls = [Call("post", path, path, {}, {"json": body}) for path, body in bodies.items()]
        assert send_all(client, calls) == dict.fromkeys([("post", path) for path in bodies], 429)


@contextmanager
def locked(database: Database) -> Iterator[None]:
    """Hold the write lock of an SQLite database, as another program might. Writers wait for it only briefly."""

    def hurry(connection: Any, *_: object) -> None:
        connection.execute("PRAGMA busy_timeout = 20")

    event.listen(database.engine, "checkout", hurry)
    other = sqlite3.connect(str(database.url.database), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.close()
        event.remove(database.engine, "checkout", hurry)
        database.engine.dispose()  # new connections wait as usual


@contextmanager
def silent(database: Database) -> Iterator[None]:
    """Let every transaction fail at its beginning."""

    def fail(*_: object) -> None:
        raise OperationalError("", {}, Exception("no connection"))

    engines = database.engine, database.reader
    with ExitStack() as ends:
        for engine in engines:
            event.listen(engine, "begin", fail)
            ends.callback(event.remove, engine, "begin", fail)
        yield


def test_a_locked_database(api: Api, shelf: Shelf, tmp_path: Path) -> None:
    calls = prepared(api, shelf, tmp_path)
    with locked(api.services.database), api.client() as client:
        statuses = send_all(client, calls)
    refused = {path for (_, path), status in statuses.items() if status == 503}
    assert {"/v1/webhook_endpoints", "/v1/files", "/v1/batches", "/models/{name}/{version}/set-default"} <= refused
    assert statuses["get", "/v1/models"] == 200


def test_a_database_that_does_not_answer(api: Api, shelf: Shelf, tmp_path: Path) -> None:
    calls = prepared(api, shelf, tmp_path)
    with silent(api.services.database), api.client() as client:
        statuses = send_all(client, calls)
    assert {statuses["get", path] for path in ("/v1/models", "/v1/files", "/v1/batches", "/api/tags")} == {503}


def test_no_engine(settings: Settings, shelf: Shelf, tmp_path: Path) -> None:
    """All aliases of the examples are required, so an engine must load a version before an alias can be moved to it."""
    with Api(settings) as api:
        with engine_of(settings):
            api.wait_ready()
            calls = prepared(api, shelf, tmp_path)
        for each in shelf.registry.every_alias():
            shelf.registry.set_alias(each.model, each.alias, each.version, "local", required=True, loads=True)
        with api.client() as client:
            statuses = send_all(client, calls)
    refused = {path for (_, path), status in statuses.items() if status == 503}
    assert {"/v1/registry/models/{name}/aliases/{alias}", "/models/{name}/{version}/set-default"} <= refused
    assert refused >= set(INFERENCE)
