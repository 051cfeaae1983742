"""Creates jobs: resolves the references in a request, and queues the job."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

import msgspec
from sqlalchemy.orm import Session

from app import telemetry
from app.db.database import Database
from app.db.paging import new_id
from app.errors import InvalidRequest, NotFound, did_you_mean
from app.files.records import StoredFile
from app.files.service import Files
from app.jobs import limits
from app.jobs.records import Job
from app.jobs.repeats import Repeat, create_once
from app.jobs.repository import JobRepository
from app.jobs.request import JobRequest
from app.registry import repository as registered
from app.registry.records import Version, check_name, visible
from app.registry.service import Registry
from app.settings import installed_memory
from app.wire.trainer import AUTO, DataFile, TrainSpec
from app.wire.training_options import Columns
from models.choices import ARCHITECTURES

NAME_CHARACTERS = 64


class JobCreation:
    """Creates a queued job from a validated request, in one transaction."""

    def __init__(
        self, database: Database, registry: Registry, files: Files, repository: JobRepository, memory: int = 0
    ) -> None:
        """`memory` is the number of bytes that a training run may use; 0 means all of this machine's memory."""
        self._database, self._registry, self._files = database, registry, files
        self._repository = repository
        self._memory = memory or installed_memory()

    def create(self, request: JobRequest, principal: str, key: str | None, retry_count: int) -> Job:
        """Queue the job, or return the job that an earlier copy of the same request created.

        Raises InvalidRequest or NotFound with `param` set.
        """
        repeat = Repeat(principal, request.body_sha256, key, retry_count)
        return create_once(self._database, repeat, lambda session: self._insert(session, request, repeat))

    def _insert(self, session: Session, request: JobRequest, repeat: Repeat) -> Job:
        base = self._check_base(session, request, repeat.owner)
        job_id = new_id("ftjob")
        name = self._publish_name(session, request, base, repeat.owner, job_id)
        # The seed is chosen here rather than by the trainer, because every attempt at the job must use the same seed.
        seed = secrets.randbelow(limits.MAX_SEED + 1) if request.seed is None else request.seed
        spec = self._spec(session, request, repeat.owner, seed)
        expected = request.publish.expected_version
        return self._repository.insert(
            session,
            id=job_id,
            owner=repeat.owner,
            priority=request.priority,
            idempotency_key=repeat.key,
            body_sha256=request.body_sha256,
            request=_stored_request(request, spec, base),
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

    def draft(self, request: JobRequest, principal: str) -> tuple[TrainSpec, Version | None]:
        """Return the trainer's input and the version to fine-tune, if any, for the job that `create` would queue.

        Raises InvalidRequest or NotFound with `param` set.
        """
        with self._database.transaction() as session:
            base = self._check_base(session, request, principal)
            self._publish_name(session, request, base, principal, new_id("ftjob"))
            return self._spec(session, request, principal, request.seed or 0), base

    def _check_base(self, session: Session, request: JobRequest, principal: str) -> Version | None:
        """Return the version to fine-tune, if any. Rejects a network whose weights alone do not fit in memory."""
        base = None if request.from_scratch else self._base(session, request, principal)
        limits.check_memory(request, base.config if base else None, self._memory)
        return base

    def _base(self, session: Session, request: JobRequest, principal: str) -> Version:
        try:
            base = self._registry.resolve(request.model, principal, session)
        except NotFound as error:
            message, mark, similar = error.message.partition("; did you mean")
            message += f"; to train from scratch, use {', '.join(ARCHITECTURES)}"
            message += did_you_mean(request.model, (*ARCHITECTURES, AUTO), mark + similar)
            raise NotFound(message, code=error.code, param="model") from None
        limits.check_base(base.config, request)
        # Until this transaction ends, the lock prevents garbage collection from deleting the base's blobs. Afterwards,
        # the job's row refers to the blobs and protects them.
        self._registry.hold_files(session, base.files)
        return base

    def _publish_name(
        self, session: Session, request: JobRequest, base: Version | None, principal: str, job_id: str
    ) -> str:
        text, param = request.publish.name, "publish.name"
        if text is None:
            text, param = request.suffix, "suffix"
        tail = f"-{job_id[-8:]}"
        if text is None:  # a job's checkpoint (version 0) has no model name: use its architecture
            model = base.architecture if base is not None and not base.version else request.model
            text, param = limits.to_model_name(model, "model")[: NAME_CHARACTERS - len(tail)] + tail, "model"
        name = check_name(limits.to_model_name(text, param), param)
        row = registered.find_model(session, name)
        if row is not None and not visible(row.owner, principal):
            message = f"the name {name!r} is taken; choose another"
            raise InvalidRequest(message, code="model_name_taken", param=param)
        if request.publish.alias is not None:
            check_name(request.publish.alias, "publish.alias")
        return name

    def _spec(self, session: Session, request: JobRequest, principal: str, seed: int) -> TrainSpec:
        training = hold_file(self._files, session, "training_file", request.training_file, principal)
        validation = None
        if request.validation_file:
            validation = hold_file(self._files, session, "validation_file", request.validation_file, principal)
        columns = {**training.roles, **msgspec.to_builtins(request.columns)}
        if validation:
            _check_roles(validation, columns)
        return TrainSpec(
            model=request.model if request.from_scratch else "base",
            training_file=data_file("inputs/training", training),
            seed=seed,
            validation_file=data_file("inputs/validation", validation) if validation else None,
            task=request.task,
            columns=Columns(**columns),
            validation_split=request.validation_split,
            training=request.training,
        )


def hold_file(files: Files, session: Session, param: str, file_id: str, principal: str) -> StoredFile:
    """Lock a file so that it cannot be deleted before the job's row refers to it.

    Raises InvalidRequest with the given `param` if the principal has no such file.
    """
    try:
        return files.hold(session, file_id, principal)
    except NotFound as error:
        raise InvalidRequest(f"{param}: {error.message}", code=error.code, param=param) from None


def data_file(path: str, file: StoredFile) -> DataFile:
    """Describe a file as input for the trainer; `path` is relative to the run directory."""
    # Leave out ".gz": the trainer detects compression from the first bytes of the file.
    format_ = (file.format or "").removesuffix(".gz") or None
    return DataFile(path, file.filename, file.sha256, format_)


def _check_roles(validation: StoredFile, columns: Mapping[str, str]) -> None:
    """Reject a validation file whose column roles differ from the job's, because they would have no effect."""
    for role, column in validation.roles.items():
        if columns.get(role) != column:
            message = (
                f"validation_file was uploaded with columns[{role}]={column!r}, which has no effect, because both "
                "files are read with the same columns; set it on the training file, or in this request as "
                f"columns.{role}"
            )
            raise InvalidRequest(message, param="validation_file")


def _stored_request(request: JobRequest, spec: TrainSpec, base: Version | None) -> dict[str, Any]:
    """Return the value for the `request` column: the request, the trainer's input, and the base model's files."""
    stored: dict[str, Any] = msgspec.to_builtins(request)
    stored["spec"] = msgspec.to_builtins(spec)
    stored["columns"] = msgspec.to_builtins(spec.columns)
    if base is not None:
        stored["base"] = {"reference": base.ref, "files": registered.dump_manifest(base.files)}
    return stored
