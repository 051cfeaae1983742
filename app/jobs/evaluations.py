"""Client operations on evaluations: create an evaluation, and list a version's evaluations."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import select, true
from sqlalchemy.orm import Session

from app import telemetry
from app.db.database import Database
from app.db.ownership import LOCAL
from app.db.paging import new_id
from app.db.tables import JobRow
from app.errors import InvalidRequest, NotFound
from app.files.service import Files
from app.jobs import evaluation_request
from app.jobs.creation import data_file, hold_file
from app.jobs.evaluation_request import EvaluationRequest
from app.jobs.records import EVALUATION, SUCCEEDED, Job
from app.jobs.repeats import Repeat, create_once
from app.jobs.repository import JobRepository
from app.jobs.service import Jobs
from app.quotas import NO_QUOTAS, Quotas
from app.registry import repository as registered
from app.registry.records import Version
from app.registry.service import Registry
from app.wire.trainer import EvaluationSpec
from app.wire.training_options import Columns
from app.wording import quantity
from models.choices import TRAINABLE

_NOUNS = {"tokens": "texts", "features": "numbers"}
EVIDENCE = 20  # maximum number of evaluations listed for a version


class Evaluations:
    """Manages the evaluations of all principals; one instance per process. All methods are thread-safe.

    `jobs` provides the operations that evaluations share with training jobs: get, list, cancel, pause and resume.
    """

    def __init__(self, database: Database, registry: Registry, files: Files, quotas: Quotas = NO_QUOTAS) -> None:
        self._database, self._registry, self._files = database, registry, files
        self._repository = JobRepository(database, quotas)
        self.jobs = Jobs(database, registry, files, EVALUATION, quotas=quotas)

    def create(
        self, request: EvaluationRequest, principal: str, idempotency_key: str | None = None, retry_count: int = 0
    ) -> Job:
        """Queue an evaluation. Does not read the file yet.

        A repeated request returns the job that the first request created, as in `Jobs.create`. Raises InvalidRequest or
        NotFound with `param` set.
        """
        evaluation_request.check(request)
        repeat = Repeat(principal, request.body_sha256, idempotency_key, retry_count)
        job = create_once(self._database, repeat, lambda session: self._insert(session, request, repeat))
        return self.jobs.get(job.id, principal)

    def of_version(self, digest: str, principal: str) -> list[Job]:
        """Return a version's newest successful evaluations, limited to those that the principal may see."""
        owned = true() if principal == LOCAL else JobRow.owner == principal
        query = select(JobRow).where(
            owned, JobRow.kind == EVALUATION, JobRow.base_digest == digest, JobRow.status == SUCCEEDED
        )
        with self._database.read() as session:
            rows = session.scalars(query.order_by(JobRow.finished_at.desc(), JobRow.id).limit(EVIDENCE))
            return [Job.of(row) for row in rows]

    def _insert(self, session: Session, request: EvaluationRequest, repeat: Repeat) -> Job:
        version = self._version(session, "model", request.model, repeat.owner)
        other = None if request.against is None else self._version(session, "against", request.against, repeat.owner)
        if version.task not in TRAINABLE:
            raise InvalidRequest(
                f"{version.ref} is for {version.task}, which cannot be evaluated on a file", param="model"
            )
        if other is not None:
            _check_comparable(version, other)
        return self._repository.insert(
            session,
            id=new_id("evaljob"),
            kind=EVALUATION,
            owner=repeat.owner,
            idempotency_key=repeat.key,
            body_sha256=repeat.body_sha256,
            request=self._stored(session, request, repeat.owner, version, other),
            model=request.model,
            base_digest=version.digest,
            training_file=request.file,
            validation_file=None,
            seed=0,
            publish_name=version.model,
            publish_alias=None,
            publish_expected_version=None,
            request_id=telemetry.request_id.get() or None,
        )

    def _stored(
        self, session: Session, request: EvaluationRequest, principal: str, version: Version, other: Version | None
    ) -> dict[str, Any]:
        """Return the value for the `request` column: the request, the trainer's spec, and the versions' files."""
        file = hold_file(self._files, session, "file", request.file, principal)
        columns = Columns(**{**file.roles, **msgspec.to_builtins(request.columns or Columns())})
        input_ = data_file("inputs/file", file)
        against = None if other is None else other.ref
        skipped, split = request.skip_bad_rows or 0.0, request.validation_split
        drawn = split if isinstance(split, float) else 0.0
        spec = EvaluationSpec(version.ref, input_, against, columns, request.encoding, skipped, drawn)
        stored: dict[str, Any] = msgspec.to_builtins(request) | {"spec": msgspec.to_builtins(spec)}
        stored |= {"task": version.task, "columns": msgspec.to_builtins(columns), "base": _manifest(version)}
        return stored if other is None else stored | {"other": _manifest(other)}

    def _version(self, session: Session, param: str, reference: str, principal: str) -> Version:
        try:
            version = self._registry.resolve(reference, principal, session)
        except NotFound as error:
            raise NotFound(error.message, code=error.code, param=param) from None
        self._registry.hold_files(session, version.files)
        return version


def _check_comparable(version: Version, other: Version) -> None:
    """Raise InvalidRequest if the two versions cannot be measured on the same rows."""
    reason = ""
    if other.task != version.task:
        reason = f"{other.ref} is for {other.task}, and {version.ref} for {version.task}"
    elif other.input != version.input:
        reason = f"{other.ref} expects {_NOUNS[other.input]}, and {version.ref} expects {_NOUNS[version.input]}"
    elif (steps := other.config.get("features", 0)) != (own := version.config.get("features", 0)):
        reason = f"{other.ref} expects {quantity(steps, 'feature')} per step, and {version.ref} expects {own}"
    if reason:
        raise InvalidRequest(f"{reason}, so they cannot be compared", param="against")


def _manifest(version: Version) -> dict[str, Any]:
    return {
        "reference": version.ref, "digest": version.digest, "files": registered.dump_manifest(version.files),
    }  # fmt: skip
