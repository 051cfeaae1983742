"""The client operation that creates batches."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy.orm import Session

from app import telemetry
from app.db.database import Database
from app.db.paging import new_id
from app.files.records import StoredFile
from app.files.service import Files
from app.jobs import batch_request
from app.jobs.batch_request import NewBatch
from app.jobs.creation import hold_file
from app.jobs.records import BATCH, Job
from app.jobs.repeats import Repeat, create_once
from app.jobs.repository import JobRepository
from app.jobs.service import Jobs
from app.quotas import NO_QUOTAS, Quotas
from app.registry.service import Registry
from app.wire.batch import INPUT, BatchSpec
from app.wire.trainer import DataFile


class Batches:
    """Batches of all principals; one instance per process. All methods are thread-safe.

    `jobs` provides the operations that batches share with training jobs: get, list and cancel.
    """

    def __init__(self, database: Database, registry: Registry, files: Files, quotas: Quotas = NO_QUOTAS) -> None:
        self._database, self._files = database, files
        self._repository = JobRepository(database, quotas)
        self.jobs = Jobs(database, registry, files, BATCH, quotas=quotas)

    def create(
        self, request: NewBatch, principal: str, idempotency_key: str | None = None, retry_count: int = 0
    ) -> Job:
        """Queue a batch. Does not read the file yet.

        A repeated request returns the job of the first request, as in `Jobs.create`. Raises InvalidRequest and NotFound
        with `param` set.
        """
        batch_request.check(request)
        repeat = Repeat(principal, request.body_sha256, idempotency_key, retry_count)
        job = create_once(self._database, repeat, lambda session: self._insert(session, request, repeat))
        return self.jobs.get(job.id, principal)

    def _insert(self, session: Session, request: NewBatch, repeat: Repeat) -> Job:
        file = hold_file(self._files, session, "input_file_id", request.input_file_id, repeat.owner)
        batch_request.check_file(file)
        return self._repository.insert(
            session,
            id=new_id("batch"),
            kind=BATCH,
            owner=repeat.owner,
            idempotency_key=repeat.key,
            body_sha256=repeat.body_sha256,
            request=_stored(request, file, repeat.owner),
            model="",
            base_digest=None,
            training_file=request.input_file_id,
            validation_file=None,
            seed=0,
            publish_name="",
            publish_alias=None,
            publish_expected_version=None,
            meta=request.metadata or None,
            request_id=telemetry.request_id.get() or None,
        )


def _stored(request: NewBatch, file: StoredFile, owner: str) -> dict[str, Any]:
    """Return the value of the column `request`: the request, and the input of the batch program."""
    spec = BatchSpec(request.endpoint, owner, DataFile(INPUT, file.filename, file.sha256))
    stored: dict[str, Any] = msgspec.to_builtins(request)
    return stored | {"spec": msgspec.to_builtins(spec)}
