"""The progress of a batch, which is stored in its job's `report`, and the batch's status as shown to clients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import msgspec

from app.jobs.records import CANCELLED, FAILED, PUBLISHING, SUCCEEDED, Job
from app.wire.batch import WINDOW_SECONDS

EXPIRED = "batch_expired"  # the error code of a job that has ended because its completion window has passed


class BatchProgress(msgspec.Struct, frozen=True):
    """The numbers of requests, answers and errors of a batch, the times of its phases, and its result files.

    `errors` are the errors in the input file. Times are seconds since the epoch according to the database's clock.
    """

    total: int = 0
    completed: int = 0
    failed: int = 0
    in_progress_at: float | None = None
    finalizing_at: float | None = None
    cancelling_at: float | None = None
    output_file_id: str | None = None
    error_file_id: str | None = None
    errors: list[dict[str, Any]] = []

    @classmethod
    def of(cls, job: Job) -> Self:
        """Return the progress of a batch, which is empty before its first attempt."""
        return msgspec.convert(job.report or {}, cls)


def expires_at(job: Job) -> float:
    """Return the time at which the completion window of a batch ends."""
    return job.created_at + WINDOW_SECONDS


def ended_as(status: str, error: Mapping[str, Any] | None) -> str:
    """Return the status, in OpenAI's terms, of a batch whose job has ended with this status and error."""
    expired = status == FAILED and (error or {}).get("code") == EXPIRED
    return "expired" if expired else {SUCCEEDED: "completed", CANCELLED: "cancelled"}.get(status, "failed")


def status_of(job: Job) -> str:
    """Return the status of a batch in OpenAI's terms.

    A batch that is waiting for its first attempt is "validating". A batch that is waiting for another attempt is
    "in_progress" or, if its files were being stored, "finalizing".
    """
    if job.ended:
        return ended_as(job.status, job.error)
    if job.cancel_requested:
        return "cancelling"
    progress = BatchProgress.of(job)
    if job.phase == PUBLISHING or progress.finalizing_at is not None:
        return "finalizing"
    return "validating" if progress.in_progress_at is None else "in_progress"
