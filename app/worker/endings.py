"""Stores the result of a trainer that has finished, and ends the job or begins the trials that the trainer planned."""

from __future__ import annotations

import errno

from app import disk_errors
from app.runs.run_directory import RunDirectory
from app.wire.trainer import Broke, Done, Evaluated, Planned, TrainEvent
from app.worker import evaluations, publish
from app.worker.lease import Lease
from app.worker.resources import Resources


def end(resources: Resources, lease: Lease, run: RunDirectory, last: Done | Evaluated | Planned) -> str:
    """Store what the trainer has produced, and return the job's new status. Raises retryable errors and LeaseLost."""
    job = lease.job
    match last:
        case Planned(task, planned):
            return lease.end(lambda session: resources.jobs.begin_trials(session, job, task, planned))
        case Evaluated():
            return evaluations.finish(resources, lease, run, last)
        case Done() if job.parent_id is not None:
            return publish.keep(resources, lease, run, last)
        case Done():
            return publish.publish(resources, lease, run, last)


def disk_failure(code: int, last: TrainEvent | None) -> OSError | None:
    """Return the disk error that ended a trainer, or None if the trainer ended for another reason."""
    if isinstance(last, Broke) and last.errno in disk_errors.AWAITED:
        return OSError(last.errno, last.kind)
    # The trainer could not even write its last event, so only its exit code shows that the disk failed.
    return OSError(errno.ENOSPC, "exit code") if code == disk_errors.EXIT_CODE else None
