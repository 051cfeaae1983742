"""A queue of jobs for tests, and a worker's resources with a fake trainer."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from app.db.changes import Changes
from app.db.database import Database
from app.errors import InvalidRequest, NotFound
from app.files.service import Files
from app.jobs.claims import JobClaims
from app.jobs.parsing import parse
from app.jobs.records import TRAINING_LANE, Job, JobEvent
from app.jobs.service import Jobs
from app.registry.probes import Probes
from app.registry.service import Registry
from app.settings import Settings
from app.storage.blobs import BlobStore
from app.storage.local_cache import LocalCache
from app.worker.resources import Resources

ROOT = Path(__file__).parents[2]
FAKE = (sys.executable, str(ROOT / "tests" / "worker" / "fake_trainer.py"))
OWNER = "alice"


def until(condition: Callable[[], Any], seconds: float = 60.0) -> Any:
    """Wait until a condition returns a true value, and return this value."""
    end = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)
    return result


@dataclass
class Queue:
    """Creates and reads jobs like a client."""

    jobs: Jobs
    files: Files
    database: Database

    def upload(self, content: bytes | dict[str, Any] = b"{}", owner: str = OWNER) -> str:
        raw = content if isinstance(content, bytes) else json.dumps(content).encode()
        return self.files.create(owner, "data.csv", "fine-tune", iter([raw])).id

    def create(self, owner: str = OWNER, *, plan: dict[str, Any] | None = None, **fields: Any) -> Job:
        key, retries = fields.pop("idempotency_key", None), fields.pop("retry_count", 0)
        body = {"model": "lstm", "training_file": None, **fields}
        body["training_file"] = body["training_file"] or self.upload(plan or {"steps": 5}, owner)
        return self.jobs.create(parse(body), owner, key, retries)

    def get(self, job: Job) -> Job:
        return self.jobs.get(job.id, job.owner)

    def events(self, job: Job) -> list[JobEvent]:
        """The events of the job, oldest first."""
        return self.jobs.events(job.id, job.owner, limit=1000).items[::-1]

    def steps(self, job: Job) -> list[int]:
        return [event.step for event in self.events(job) if event.type == "metrics"]


def refused(queue: Queue, **fields: Any) -> Any:
    """Create a job that is rejected. Return the error."""
    with pytest.raises((InvalidRequest, NotFound)) as caught:
        queue.create(**fields)
    return caught.value


def claim(queue: Queue, worker: str = "w") -> Any:
    """Claim the next job. Return None if there is none."""
    with queue.database.transaction() as session:
        return JobClaims(queue.database).claim(session, worker, 100.0, 3, TRAINING_LANE)


@pytest.fixture
def queue(database: Database, registry: Registry, files: Files) -> Queue:
    return Queue(Jobs(database, registry, files), files, database)


@pytest.fixture
def resources(
    tmp_path: Path, database: Database, database_url: str, registry: Registry, files: Files
) -> Iterator[Resources]:
    blobs: BlobStore = registry.blobs
    changes = Changes(database)
    yield Resources(
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
        probes=Probes(database, blobs),
        files=files,
        jobs=JobClaims(database),
        changes=changes,
        trainer=FAKE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    changes.close()
