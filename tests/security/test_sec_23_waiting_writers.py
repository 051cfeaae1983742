"""SEC-23: threads that wait to write, and locks of other programs, do not block other requests."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import msgspec
import pytest
from sqlalchemy import create_engine, text

from app.db import pools
from app.db.database import Database, DatabaseUnavailable
from app.settings import Settings
from tests.fakes import FakeEngine
from tests.serving import Api, Shelf, wait_until

WRITES = 64  # at once: more than the threads and connections of the API
PATIENCE = 6.0  # seconds within which reads are answered, far below the waiting time of writers


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def settings(request: pytest.FixtureRequest, settings: Settings) -> Settings:
    url = "" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    return msgspec.structs.replace(settings, database_url=url)


@contextmanager
def locked(database: Database, mode: str) -> Iterator[None]:
    """Hold a lock that blocks writers. In PostgreSQL, the mode ACCESS EXCLUSIVE also blocks readers."""
    if database.dialect == "sqlite":
        other = sqlite3.connect(database.url.database or "", isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.rollback()
        other.close()
        return
    engine = create_engine(database.url)
    with engine.begin() as connection:
        connection.execute(text(f"LOCK TABLE models, versions, aliases, files IN {mode} MODE"))
        yield
    engine.dispose()


def upload(client: httpx.Client) -> int:
    return client.post("/v1/files", data={"purpose": "fine-tune"}, files={"file": ("a.csv", b"a,b\n1,2\n")}).status_code


@pytest.mark.parametrize("mode", ["EXCLUSIVE", "ACCESS EXCLUSIVE"])
def test_waiting_writers_do_not_keep_readers_out(
    api: Api, shelf: Shelf, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    monkeypatch.setattr(pools, "TURN_SECONDS", 0.2)
    shelf.classifier()
    database = api.services.database
    with api.client() as client:
        api.wait_ready()
        assert client.post("/v1/classify", json={"model": "mood", "input": "a"}).status_code == 200
        with ThreadPoolExecutor(WRITES) as threads, locked(database, mode):
            writes = [threads.submit(upload, client) for _ in range(WRITES)]
            wait_until(lambda: database.engine.pool.checkedout() >= pools.WRITERS)  # type: ignore[attr-defined]
            began = time.monotonic()
            reply = client.post("/v1/classify", json={"model": "mood", "input": "a"})
            assert reply.status_code == 200, reply.text
            if mode == "EXCLUSIVE":
                assert client.get("/v1/models").status_code == 200
                assert client.get("/v1/registry/models").status_code == 200
            assert time.monotonic() - began < PATIENCE
            assert client.get("/livez").status_code == 200
        assert set(write.result() for write in writes) <= {200, 503}
        assert upload(client) == 200


def test_the_number_of_waiting_writers_is_bounded(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "WRITERS", 2)
    monkeypatch.setattr(pools, "WAITING_WRITERS", 1)
    monkeypatch.setattr(pools, "TURN_SECONDS", 60.0)
    database = Database(settings.database)
    database.migrate()
    inside, leave = threading.Semaphore(0), threading.Event()

    def write() -> None:
        with database._turns.turn():
            inside.release()
            assert leave.wait(30)

    with ThreadPoolExecutor(3) as threads:
        writes = [threads.submit(write) for _ in range(3)]
        assert inside.acquire(timeout=30) and inside.acquire(timeout=30)
        wait_until(lambda: database._turns._places._value == 0)
        with pytest.raises(DatabaseUnavailable), database.transaction():
            pass
        with database.read() as session:
            assert session.execute(text("SELECT 1")).scalar() == 1
        leave.set()
        for done in writes:
            done.result(30)
    with database.transaction():
        pass
    database.close()
