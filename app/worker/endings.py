"""Stores a finished trainer's result, and ends the job or starts the trials that the trainer planned."""

from __future__ import annotations

import errno
import signal

from app import disk_errors
from app.runs.run_directory import RunDirectory
from app.wire import shortage
from app.wire.trainer import Broke, Done, Evaluated, Planned, TrainEvent, TrainFailed
from app.worker import evaluations, publish, transcript
from app.worker.lease import Lease
from app.worker.memory_kills import KillWatch
from app.worker.resources import Resources

SHORTAGE = "there was not enough memory, so the run restarts from step 0 with batches split into smaller pieces"

OVERTIME = TrainFailed(
    "processor_time_exceeded",
    "the job used more processor time than the service (OSTINATO_TRAINING_PROCESSOR_SECONDS) or the quota of its key "
    "(processor_seconds) allows; use fewer steps or epochs, or a smaller network",
)
TWICE = TrainFailed(
    "out_of_memory",
    "the system ended the trainer twice because memory ran out; use a smaller batch_size, width or context_length",
    "training.batch_size",
)


def end(resources: Resources, lease: Lease, run: RunDirectory, last: Done | Evaluated | Planned) -> str:
    """Store the trainer's result, and return the job's new status. Raises retryable errors and LeaseLost."""
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


def after_loss(
    lease: Lease, code: int, last: TrainEvent | None, run: RunDirectory, kills: KillWatch
) -> TrainFailed | str:
    """Return the outcome after a trainer exited unexpectedly: a failure, or the reason for another attempt.

    `kills` tracks the processes that the system killed for lack of memory. A run that ran out of memory is restarted
    once, with batches split into smaller pieces. Raises LeaseLost.
    """
    lease.check()  # another attempt may already be using the run directory
    if isinstance(last, Broke):
        return SHORTAGE if last.kind == shortage.ENDED else f"the trainer ended unexpectedly (an error: {last.kind})"
    if code == -signal.SIGXCPU:
        return OVERTIME
    if code == -signal.SIGKILL and kills.noticed() and run.settled() is not None:
        return SHORTAGE if shortage.report(run.path) else TWICE
    return f"the trainer ended unexpectedly ({transcript.describe_exit(code)})"
