"""A queue of batches for tests, and a worker's resources with a fake batch program."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from app.db.database import Database
from app.files.service import Files
from app.jobs.batch_progress import BatchProgress, status_of
from app.jobs.batch_request import NewBatch
from app.jobs.batches import Batches
from app.jobs.records import Job
from app.worker.resources import Resources
from tests.jobs.fixtures import OWNER, ROOT

ENDPOINT = "/v1/embeddings"
FAKE_BATCH = (sys.executable, str(ROOT / "tests" / "worker" / "fake_batch.py"))


def line_of(number: int, body: Any, **changes: Any) -> str:
    request = {"custom_id": f"r{number}", "method": "POST", "url": ENDPOINT, "body": body} | changes
    return json.dumps(request) + "\n"


@dataclass
class BatchQueue:
    """Creates and reads batches like a client."""

    batches: Batches
    files: Files
    database: Database

    def upload(self, content: bytes, owner: str = OWNER, purpose: str = "batch") -> str:
        return self.files.create(owner, "requests.jsonl", purpose, iter([content])).id

    def create(self, bodies: Sequence[Any] = ({},), owner: str = OWNER, **fields: Any) -> Job:
        key, retries = fields.pop("idempotency_key", None), fields.pop("retry_count", 0)
        content = fields.pop("content", None) or "".join(line_of(i, body) for i, body in enumerate(bodies)).encode()
        file = fields.pop("input_file_id", None) or self.upload(content, owner)
        request = {"input_file_id": file, "endpoint": ENDPOINT, "completion_window": "24h"} | fields
        return self.batches.create(msgspec.convert(request, NewBatch), owner, key, retries)

    def get(self, job: Job) -> Job:
        return self.batches.jobs.get(job.id, job.owner)

    def status(self, job: Job) -> str:
        return status_of(self.get(job))

    def progress(self, job: Job) -> BatchProgress:
        return BatchProgress.of(self.get(job))

    def lines(self, job: Job, name: str) -> list[dict[str, Any]]:
        """The lines of the result file `output` or `error`; empty if there is no such file."""
        id_ = getattr(self.progress(job), f"{name}_file_id")
        if id_ is None:
            return []
        content = b"".join(self.files.content(id_, job.owner)[1])
        return [json.loads(line) for line in content.decode().splitlines()]


def queue_of(resources: Resources) -> BatchQueue:
    batches = Batches(resources.database, resources.registry, resources.files)
    return BatchQueue(batches, resources.files, resources.database)


def with_fake_batches(resources: Resources) -> Resources:
    return replace(resources, batch_program=FAKE_BATCH)
