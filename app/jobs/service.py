"""Jobs as people see them: ask for one, watch it, pause, resume and cancel it.

Knows who may see what, what a request refers to, and which wish fits which state. What changes a row is in
`repository`; who works on it is in `worker`. Another's job does not exist.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from typing import Any

import msgspec
from sqlalchemy import true
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app import telemetry
from app.db.database import Database
from app.db.paging import Page, check_page, new_id
from app.db.tables import JobRow
from app.errors import InvalidRequest, NotFound
from app.files.records import StoredFile
from app.files.service import Files
from app.jobs import limits, logbook
from app.jobs.records import PAUSED, QUEUED, RUNNING, Job, JobCheckpoint, JobEvent
from app.jobs.repository import JobRepository
from app.jobs.request import ARCHITECTURES, JobRequest
from app.registry import repository as registered
from app.registry.records import CHECKPOINT_ID, LOCAL, Version, check_name, visible
from app.registry.service import Registry
from app.wire.trainer import DataFile, TrainSpec
from app.wire.training_options import Columns

SAME_SECONDS = 600.0  # how long a client's retry of a creation means the job just made
PAGE_LIMIT = 1000
JOB_ID = re.compile(r"ftjob-[A-Za-z0-9_-]{1,34}")
EVENT_ID = re.compile(r"ftevent-[A-Za-z0-9_-]{1,32}")
NAME_CHARACTERS = 64


class Jobs:
    """One per process. Its methods are safe to call from any thread."""

    def __init__(self, database: Database, registry: Registry, files: Files) -> None:
        self._database, self._registry, self._files = database, registry, files
        self._jobs = JobRepository(database)

    def create(
        self, request: JobRequest, principal: str, idempotency_key: str | None = None, retry_count: int = 0
    ) -> Job:
        """Queue a training; nothing of the data is looked at yet.

        The same `idempotency_key` gives the same job for ever; so does, for some minutes, a client's own retry of a
        request (`retry_count` above 0). Raises InvalidRequest and NotFound with `param` set.
        """
        if idempotency_key is not None and not 1 <= len(idempotency_key) <= 255:
            raise InvalidRequest("Idempotency-Key must have 1 to 255 characters", param="Idempotency-Key")
        try:
            return self._create(request, principal, idempotency_key, retry_count)
        except IntegrityError:  # the same key, at the same moment: now the other's job is there
            return self._create(request, principal, idempotency_key, retry_count)

    def get(self, job_id: str, principal: str) -> Job:
        """Raises NotFound (`job_not_found`)."""
        with self._database.read() as session:
            return self._job(session, job_id, principal)

    def list(
        self,
        principal: str,
        *,
        after: str | None = None,
        limit: int = 20,
        metadata: Mapping[str, str] | None = None,
        without_metadata: bool = False,
    ) -> Page[Job]:
        """The newest first; `after` is the id of the last job seen. `metadata` pairs must all be the job's."""
        check_page(limit, "desc", PAGE_LIMIT)
        if any("\x00" in text for pair in (metadata or {}).items() for text in pair):
            raise InvalidRequest("metadata holds no NUL characters", param="metadata")
        mine = true() if principal == LOCAL else JobRow.owner == principal
        with self._database.read() as session:
            if after is not None:
                self._job(session, after, principal, param="after")
            page = logbook.jobs(session, mine, after, limit, metadata, without_metadata)
            now = self._database.now(session)
            return Page([job.seen_at(now) for job in page.items], page.has_more)

    def events(self, job_id: str, principal: str, *, after: str | None = None, limit: int = 20) -> Page[JobEvent]:
        """The newest first; `after` is the id of the last event seen."""
        check_page(limit, "desc", PAGE_LIMIT)
        with self._database.read() as session:
            self._job(session, job_id, principal)
            place = logbook.event_place(session, job_id, after) if after and EVENT_ID.fullmatch(after) else None
            _check_after(job_id, "event", after, place)
            return logbook.events(session, job_id, place, limit)

    def checkpoints(
        self, job_id: str, principal: str, *, after: str | None = None, limit: int = 10
    ) -> Page[JobCheckpoint]:
        """The latest step first; `after` is the id of the last checkpoint seen."""
        check_page(limit, "desc", PAGE_LIMIT)
        with self._database.read() as session:
            self._job(session, job_id, principal)
            step = logbook.checkpoint_step(session, job_id, after) if after and CHECKPOINT_ID.fullmatch(after) else None
            _check_after(job_id, "checkpoint", after, step)
            return logbook.checkpoints(session, job_id, step, limit)

    def cancel(self, job_id: str, principal: str) -> Job:
        """End a job for good; asking again is no error. Raises InvalidRequest where it has ended already."""
        with self._database.transaction() as session:
            job = self._locked(session, job_id, principal)
            if job.ended:
                raise _unfit(job, "cannot be cancelled any more")
            self._jobs.request_cancel(session, job)
        return self.get(job_id, principal)

    def pause(self, job_id: str, principal: str) -> Job:
        """Let a queued or running job rest. Raises InvalidRequest in any other state."""
        with self._database.transaction() as session:
            job = self._locked(session, job_id, principal)
            if job.status not in (QUEUED, RUNNING):
                raise _unfit(job, "cannot be paused; a queued or running job can")
            if job.cancel_requested:
                raise InvalidRequest(f"{job.id} is being cancelled and cannot be paused", code="invalid_job_state")
            self._jobs.request_pause(session, job)
        return self.get(job_id, principal)

    def resume(self, job_id: str, principal: str) -> Job:
        """Let a paused job go on. Raises InvalidRequest in any other state."""
        with self._database.transaction() as session:
            job = self._locked(session, job_id, principal)
            if job.status != PAUSED:
                still = " yet: its trainer still saves" if job.pause_requested else ""
                raise _unfit(job, f"cannot be resumed{still}; a paused job can")
            self._jobs.resume(session, job)
        return self.get(job_id, principal)

    # --- creation -------------------------------------------------------------------------------------------------

    def _create(self, request: JobRequest, principal: str, key: str | None, retry_count: int) -> Job:
        with self._database.transaction() as session:
            known = self._made_before(session, request, principal, key, retry_count)
            if known is not None:
                return known
            base = None if request.from_scratch else self._base(session, request, principal)
            job_id = new_id("ftjob")
            name = self._publish_name(session, request, base, principal, job_id)
            seed = secrets.randbelow(limits.SEEDS + 1) if request.seed is None else request.seed
            spec = self._spec(session, request, principal, seed)
            expected = request.publish.expected_version
            return self._jobs.insert(
                session,
                id=job_id,
                owner=principal,
                priority=request.priority,
                idempotency_key=key,
                body_sha256=request.body_sha256,
                request=_kept(request, spec, base),
                model=request.model,
                base_digest=base.digest if base else None,
                training_file=request.training_file,
                validation_file=request.validation_file,
                seed=seed,
                publish_name=name,
                publish_alias=request.publish.alias,
                publish_expected_version=expected if isinstance(expected, int) else None,
                meta=request.metadata or None,
                request_id=telemetry.request_id.get() or None,
            )

    def _made_before(
        self, session: Session, request: JobRequest, owner: str, key: str | None, retry_count: int
    ) -> Job | None:
        known = logbook.same_key(session, owner, key) if key is not None else None
        if known is not None and known.body_sha256 != request.body_sha256:
            raise InvalidRequest(
                f"this Idempotency-Key was used for {known.id}, which was asked for in other words; take a new key",
                code="idempotency_key_reused",
                param="Idempotency-Key",
            )
        if known is None and key is None and retry_count > 0:
            since = self._database.now(session) - SAME_SECONDS
            known = logbook.same_body(session, owner, request.body_sha256, since)
        return known

    def _base(self, session: Session, request: JobRequest, principal: str) -> Version:
        try:
            base = self._registry.resolve(request.model, principal, session)
        except NotFound as error:
            message = f"{error.message}; to train from scratch, name {', '.join(ARCHITECTURES)}"
            raise NotFound(message, code=error.code, param="model") from None
        limits.check_base(base.config, request)
        self._registry.hold_files(session, base.files)  # from here on the job's row names them too
        return base

    def _publish_name(
        self, session: Session, request: JobRequest, base: Version | None, principal: str, job_id: str
    ) -> str:
        wanted, param = request.publish.name, "publish.name"
        if wanted is None:
            wanted, param = request.suffix, "suffix"
        tail = f"-{job_id[-8:]}"
        if wanted is None:  # a job's checkpoint (version 0) has an id in place of a name
            model = base.architecture if base is not None and not base.version else request.model
            wanted, param = limits.publish_name(model, "model")[: NAME_CHARACTERS - len(tail)] + tail, "model"
        name = check_name(limits.publish_name(wanted, param), param)
        row = registered.model(session, name)
        if row is not None and not visible(row.owner, principal):
            raise InvalidRequest(f"the name {name!r} is taken; choose another", code="model_name_taken", param=param)
        if request.publish.alias is not None:
            check_name(request.publish.alias, "publish.alias")
        return name

    def _file(self, session: Session, param: str, id_: str, principal: str) -> StoredFile:
        try:
            return self._files.hold(session, id_, principal)
        except NotFound as error:
            raise InvalidRequest(f"{param}: {error.message}", code=error.code, param=param) from None

    def _spec(self, session: Session, request: JobRequest, principal: str, seed: int) -> TrainSpec:
        def file(param: str, found: StoredFile) -> DataFile:
            plain = (found.format or "").removesuffix(".gz")  # the trainer sees by itself what is packed
            return DataFile(f"inputs/{param.removesuffix('_file')}", found.filename, found.sha256, plain or None)

        training = self._file(session, "training_file", request.training_file, principal)
        validation = request.validation_file
        held_out = self._file(session, "validation_file", validation, principal) if validation else None
        columns = {**training.roles, **msgspec.to_builtins(request.columns)}
        if held_out:
            _check_roles(held_out, columns)
        return TrainSpec(
            model=request.model if request.from_scratch else "base",
            training_file=file("training_file", training),
            seed=seed,
            validation_file=file("validation_file", held_out) if held_out else None,
            task=request.task,
            columns=Columns(**columns),
            validation_split=request.validation_split,
            training=request.training,
        )

    def _job(self, session: Session, job_id: str, principal: str, *, param: str = "id") -> Job:
        found = logbook.get(session, job_id) if JOB_ID.fullmatch(job_id) else None
        return _seen(found, job_id, principal, param).seen_at(self._database.now(session))

    def _locked(self, session: Session, job_id: str, principal: str) -> Job:
        found = self._jobs.locked(session, job_id) if JOB_ID.fullmatch(job_id) else None
        return _seen(found, job_id, principal).seen_at(self._database.now(session))


def _check_roles(held_out: StoredFile, columns: Mapping[str, str]) -> None:
    """A validation file is read as the training file is: columns that were named with it must be the same."""
    for role, column in held_out.roles.items():
        if columns.get(role) != column:
            message = (
                f"validation_file: columns[{role}]={column!r}, named with that file, would do nothing; both files "
            )
            message += f"are read alike: name it with the training file, or here as columns.{role}"
            raise InvalidRequest(message, param="validation_file")


def _kept(request: JobRequest, spec: TrainSpec, base: Version | None) -> dict[str, Any]:
    """The row's `request`: what was asked, what every attempt is told, and the files of the model to fine-tune."""
    kept: dict[str, Any] = msgspec.to_builtins(request)
    kept["spec"] = msgspec.to_builtins(spec)
    kept["columns"] = msgspec.to_builtins(spec.columns)
    if base is not None:
        kept["base"] = {"reference": base.ref, "files": registered.plain(base.files)}
    return kept


def _seen(job: Job | None, job_id: str, principal: str, param: str = "id") -> Job:
    if job is None or not visible(job.owner, principal):
        message = f"there is no job {job_id[:60]!a}; GET /v1/fine_tuning/jobs lists yours"
        raise NotFound(message, code="job_not_found", param=param)
    return job


def _check_after(job_id: str, kind: str, after: str | None, place: int | None) -> None:
    if after is not None and place is None:
        raise NotFound(f"{job_id} has no {kind} {after[:60]!a}", code=f"{kind}_not_found", param="after")


def _unfit(job: Job, what: str) -> InvalidRequest:
    return InvalidRequest(f"{job.id} is {job.public_status} and {what}", code="invalid_job_state", retryable=False)
