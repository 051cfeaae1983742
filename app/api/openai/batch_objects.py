"""The JSON objects of batches, in OpenAI's format. Every field is always present."""

from __future__ import annotations

from typing import Any

import msgspec

from app.api.openapi.parameters import BATCH_ID, FILE_ID
from app.jobs.batch_progress import BatchProgress, expires_at, status_of
from app.jobs.records import Job
from app.wire.batch import ENDPOINTS, WINDOW


class BatchError(msgspec.Struct, frozen=True):
    """A reason why a batch failed. `line` is the number of a line in the input file."""

    code: str
    message: str
    param: str | None = None
    line: int | None = None


class BatchErrors(msgspec.Struct, frozen=True):
    """The errors of a batch that failed."""

    object: str
    data: list[BatchError]


class RequestCounts(msgspec.Struct, frozen=True):
    """The total number of requests in a batch, and how many of them have succeeded and failed so far."""

    total: int
    completed: int
    failed: int


class BatchObject(msgspec.Struct, frozen=True):
    """A batch.

    `status` is `validating`, `in_progress`, `finalizing`, `completed`, `failed`, `expired`, `cancelling` or
    `cancelled`. The output file contains one line for each request that succeeded, and the error file contains one line
    for each other request. A file without lines is not created. `errors` is null unless the input file is invalid or
    the batch could not be run.
    """

    id: str
    object: str
    endpoint: str
    errors: BatchErrors | None
    input_file_id: str
    completion_window: str
    status: str
    output_file_id: str | None
    error_file_id: str | None
    created_at: int
    in_progress_at: int | None
    expires_at: int
    finalizing_at: int | None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None
    request_counts: RequestCounts
    metadata: dict[str, str] | None


class BatchList(msgspec.Struct, frozen=True):
    """A page of batches."""

    object: str
    data: list[BatchObject]
    has_more: bool
    first_id: str | None
    last_id: str | None


def batch_object(job: Job) -> BatchObject:
    """Return the JSON object for a batch, built from its job record."""
    progress, status = BatchProgress.of(job), status_of(job)

    def ended(*statuses: str) -> int | None:
        return _seconds(job.finished_at) if status in statuses else None

    return BatchObject(
        id=job.id,
        object="batch",
        endpoint=job.request["endpoint"],
        errors=_errors(job, progress) if status == "failed" else None,
        input_file_id=job.training_file,
        completion_window=WINDOW,
        status=status,
        output_file_id=progress.output_file_id,
        error_file_id=progress.error_file_id,
        created_at=int(job.created_at),
        in_progress_at=_seconds(progress.in_progress_at),
        expires_at=int(expires_at(job)),
        finalizing_at=_seconds(progress.finalizing_at),
        completed_at=ended("completed"),
        failed_at=ended("failed"),
        expired_at=ended("expired"),
        cancelling_at=_seconds(progress.cancelling_at) or ended("cancelled"),
        cancelled_at=ended("cancelled"),
        request_counts=RequestCounts(progress.total, progress.completed, progress.failed),
        metadata=job.meta,
    )


def _errors(job: Job, progress: BatchProgress) -> BatchErrors:
    """Return the errors in the input file or, if there are none, the error that ended the batch."""
    error = job.error or {}
    listed = progress.errors or [{name: error.get(name) for name in ("code", "message", "param")}]
    return BatchErrors("list", msgspec.convert(listed, list[BatchError]))


def _seconds(moment: float | None) -> int | None:
    return None if moment is None else int(moment)


EXAMPLE: dict[str, Any] = {
    "id": BATCH_ID,
    "object": "batch",
    "endpoint": ENDPOINTS[2],
    "errors": None,
    "input_file_id": FILE_ID,
    "completion_window": WINDOW,
    "status": "validating",
    "output_file_id": None,
    "error_file_id": None,
    "created_at": 1745383065,
    "in_progress_at": None,
    "expires_at": 1745469465,
    "finalizing_at": None,
    "completed_at": None,
    "failed_at": None,
    "expired_at": None,
    "cancelling_at": None,
    "cancelled_at": None,
    "request_counts": {"total": 0, "completed": 0, "failed": 0},
    "metadata": {"team": "support"},
}
