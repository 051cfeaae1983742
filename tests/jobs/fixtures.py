"""A queue of jobs and a place to work on them, with the fake trainer."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from app.db.database import Database
from app.files.service import Files
from app.jobs.parsing import parse
from app.jobs.records import Job, JobEvent
from app.jobs.repository import JobRepository
from app.jobs.service import Jobs
from app.registry.service import Registry
from app.settings import Settings
from app.storage.blobs import BlobStore
from app.storage.local_cache import LocalCache
from app.worker.workplace import Workplace

ROOT = Path(__file__).parents[2]
FAKE = (sys.executable, str(ROOT / "tests" / "worker" / "fake_trainer.py"))
OWNER = "alice"


def until(condition: Callable[[], Any], seconds: float = 60.0) -> Any:
    """Wait for a condition; return what it gave."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)
    return found


@dataclass
class Queue:
    """What a client sees, and a little more."""

    jobs: Jobs
    files: Files
    database: Database

    def upload(self, content: bytes | dict[str, Any] = b"{}", owner: str = OWNER) -> str:
        raw = content if isinstance(content, bytes) else json.dumps(content).encode()
        return self.files.create(owner, "data.csv", "fine-tune", iter([raw])).id

    def ask(self, owner: str = OWNER, *, plan: dict[str, Any] | None = None, **fields: Any) -> Job:
        key, retries = fields.pop("idempotency_key", None), fields.pop("retry_count", 0)
        body = {"model": "lstm", "training_file": None, **fields}
        body["training_file"] = body["training_file"] or self.upload(plan or {"steps": 5}, owner)
        return self.jobs.create(parse(body), owner, key, retries)

    def look(self, job: Job) -> Job:
        return self.jobs.get(job.id, job.owner)

    def story(self, job: Job) -> list[JobEvent]:
        """The job's events, the oldest first."""
        return self.jobs.events(job.id, job.owner, limit=1000).items[::-1]

    def steps(self, job: Job) -> list[int]:
        return [event.step for event in self.story(job) if event.type == "metrics"]


@pytest.fixture
def queue(database: Database, registry: Registry, files: Files) -> Queue:
    return Queue(Jobs(database, registry, files), files, database)


@pytest.fixture
def place(tmp_path: Path, database: Database, database_url: str, registry: Registry, files: Files) -> Workplace:
    blobs: BlobStore = registry.blobs
    return Workplace(
        settings=Settings(
            data_dir=str(tmp_path),
            database_url=database_url,
            storage_url=(tmp_path / "blobs").as_uri(),
            lease_seconds=8.0,
            stop_seconds=0.5,
            max_attempts=3,
        ),
        database=database,
        blobs=blobs,
        cache=LocalCache(tmp_path / "cache", blobs),
        registry=registry,
        files=files,
        jobs=JobRepository(database),
        trainer=FAKE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
