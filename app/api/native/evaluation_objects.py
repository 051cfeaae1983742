"""JSON objects for evaluations. Every field is always present."""

from __future__ import annotations

from typing import Any

import msgspec

from app.api.http.job_objects import JobError
from app.api.openapi.parameters import EVALUATION_ID, FILE_ID, MODEL, OTHER
from app.jobs.records import Job


class EvaluationObject(msgspec.Struct, frozen=True):
    """An evaluation of the version `model` on a file.

    `status` and `phase` have the same values as for a training job. `model` and `against` are the references from the
    request; `version` and `against_version` are the versions to which they resolved. `report` is null until the
    evaluation has succeeded. The report contains `metrics`, the worst `mistakes` with their texts and probabilities,
    `rows_sha256`, a hash of the rows, and `warnings`, a list of sentences. If the version has a calibration, the report
    contains its `thresholds`, with the share of answered rows and of wrong answers for each threshold. With `against`,
    the report also contains the second version's metrics and a `comparison` with a paired test. `result_files` contains
    the id of a CSV file with each row's prediction.
    """

    id: str
    object: str
    created_at: int
    started_at: int | None
    finished_at: int | None
    status: str
    phase: str
    attempt: int
    owner: str
    model: str
    version: str
    against: str | None
    against_version: str | None
    task: str
    file: str
    filename: str
    columns: dict[str, str]
    error: JobError | None
    result_files: list[str]
    report: dict[str, Any] | None
    jobs_before: int | None


class EvaluationList(msgspec.Struct, frozen=True):
    """A page of evaluations."""

    object: str
    data: list[EvaluationObject]
    has_more: bool


def evaluation_object(job: Job) -> EvaluationObject:
    """Return an evaluation's JSON object, given its job record."""
    request, error = job.request, job.error
    return EvaluationObject(
        id=job.id,
        object="evaluation",
        created_at=int(job.created_at),
        started_at=None if job.started_at is None else int(job.started_at),
        finished_at=None if job.finished_at is None else int(job.finished_at),
        status=job.public_status,
        phase=job.public_phase,
        attempt=job.attempt,
        owner=job.owner,
        model=job.model,
        version=request["base"]["reference"],
        against=request.get("against"),
        against_version=(request.get("other") or {}).get("reference"),
        task=request["task"],
        file=job.training_file,
        filename=request["spec"]["file"]["filename"],
        columns=dict(request.get("columns") or {}),
        error=JobError(str(error.get("code")), str(error.get("message")), error.get("param")) if error else None,
        result_files=[str(id_) for id_ in job.result_files],
        report=job.report,
        jobs_before=job.jobs_before,
    )


EXAMPLE: dict[str, Any] = {
    "id": EVALUATION_ID,
    "object": "evaluation",
    "created_at": 1745383065,
    "started_at": None,
    "finished_at": None,
    "status": "queued",
    "phase": "waiting",
    "attempt": 0,
    "owner": "local",
    "model": MODEL,
    "version": f"{MODEL}:1",
    "against": OTHER,
    "against_version": f"{OTHER}:1",
    "task": "classification",
    "file": FILE_ID,
    "filename": "messages.csv",
    "columns": {},
    "error": None,
    "result_files": [],
    "report": None,
    "jobs_before": 0,
}
