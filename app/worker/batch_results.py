"""Stores the result files of a batch, and ends its job.

The output file contains the successful answers, and the error file contains all other answers, both in the order of the
requests.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy.orm import Session

from app.db.paging import new_id
from app.jobs.batch_progress import EXPIRED
from app.jobs.records import CANCELLED, FAILED, PUBLISHING, SUCCEEDED
from app.runs import batch_input
from app.runs.batch_spool import SpoolReader
from app.runs.run_directory import RunDirectory
from app.storage.blobs import CHUNK
from app.storage.scratch import Scratch
from app.wire.batch import INPUT, MOST_REQUESTS, BatchAnswer, BatchFault
from app.worker.lease import Lease
from app.worker.resources import Resources

PURPOSE = "batch_output"


class BatchEnding(enum.Enum):
    """The reason for ending a batch: all requests are answered, a client has cancelled the batch, its completion window
    has passed, or too many attempts were lost.
    """

    COMPLETED = "completed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    FAILED = "failed"


FAULTS = {
    BatchEnding.CANCELLED: BatchFault("batch_cancelled", "The batch was cancelled before this request was answered."),
    BatchEnding.EXPIRED: BatchFault(EXPIRED, "The completion window ended before this request was answered."),
    BatchEnding.FAILED: BatchFault("batch_failed", "The batch failed before this request was answered."),
}
EXPIRY = {"code": EXPIRED, "message": "the completion window ended before all requests were answered", "param": None}


def store(
    resources: Resources,
    lease: Lease,
    run: RunDirectory,
    spool: SpoolReader,
    ending: BatchEnding,
    error: dict[str, Any] | None = None,
) -> str:
    """Store the result files, end the job according to `ending`, and return its status.

    If the job fails, its error is `error` or, by default, `EXPIRY`. Raises retryable errors, OSError and LeaseLost.
    """
    job = lease.job
    # The files become blobs without being copied. If there is an error, such as a full disk, files that are not blobs
    # yet are removed.
    with resources.blobs.scratch(run.path) as output, resources.blobs.scratch(run.path) as errors:
        unanswered = _write(output, errors, run.path / INPUT, spool, ending)
        files = {name: file for name, file in (("output", output), ("error", errors)) if file.tell()}
        blobs = {name: resources.blobs.put_stream(_chunks(file), None, file) for name, file in files.items()}

    def end(session: Session) -> str:
        # Lock the job's row, so that a cancellation is either noticed here or comes too late to have an effect.
        cancelled = resources.jobs.hold(session, job.id, job.attempt).cancel
        expiry = (job.request.get("output_expires_after") or {}).get("seconds")
        recorded = {
            name: resources.files.record(
                session, job.owner, f"{job.id}_{name}.jsonl", PURPOSE, *blob, expires_after=expiry
            ).id
            for name, blob in blobs.items()
        }
        changes: dict[str, Any] = {f"{name}_file_id": id_ for name, id_ in recorded.items()}
        changes |= {"completed": spool.completed, "failed": spool.failed + unanswered}
        resources.jobs.report_batch(session, job.id, job.attempt, PUBLISHING, changes, advanced=False)
        values: dict[str, Any] = {"result_files": list(recorded.values())}
        if cancelled or ending is BatchEnding.CANCELLED:
            return resources.jobs.finish(session, job.id, job.attempt, CANCELLED, **values)
        if ending in (BatchEnding.EXPIRED, BatchEnding.FAILED):
            return resources.jobs.finish(session, job.id, job.attempt, FAILED, error=error or EXPIRY, **values)
        return resources.jobs.finish(session, job.id, job.attempt, SUCCEEDED, **values)

    return lease.end(end)


def _write(output: Scratch, errors: Scratch, requests: Path, spool: SpoolReader, ending: BatchEnding) -> int:
    """Write both files, and return the number of requests without an answer."""
    unanswered = 0
    answers = spool.in_order(MOST_REQUESTS)
    for numbered, answer in zip(batch_input.requests(requests), answers, strict=False):
        if answer is None:
            unanswered += 1
            answer = False, _unanswered(numbered.request.custom_id, ending)
        success, line = answer
        (output if success else errors).write(line + b"\n")
    return unanswered


def _chunks(file: Scratch) -> Iterator[bytes]:
    file.seek(0)
    while chunk := file.read(CHUNK):
        yield chunk


def _unanswered(custom_id: str, ending: BatchEnding) -> bytes:
    return msgspec.json.encode(BatchAnswer(new_id("batch_req"), custom_id, None, FAULTS[ending]))
