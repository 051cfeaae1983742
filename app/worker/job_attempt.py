"""Code shared by all attempts at a job: the lease, the lock on the run directory, and releasing the job."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager

from sqlalchemy.orm import Session

from app import disk_errors
from app.errors import OstinatoError
from app.jobs.records import Job, NewEvent, attempt_lost
from app.runs.run_directory import RunBusy, RunDirectory
from app.runs.trainer import Trainer
from app.wire.trainer import TrainFailed
from app.wire.waiting import WAITS_FOR_DISK
from app.worker import retry, transcript
from app.worker.lease import Lease, LeaseLost
from app.worker.resources import Resources

log = logging.getLogger(__name__)
STRAY_SECONDS = 1.0  # maximum wait for the trainer of an earlier attempt to exit on its own
UNAVAILABLE_SECONDS = 5.0  # minimum delay before the next claim if a store was unavailable
DISK_SECONDS = 15.0  # minimum delay before the next claim if the disk was full
LOST = "lost"  # not a job status: this worker no longer holds the job


class Interrupted(Exception):
    """The attempt must stop, because the job is being cancelled or paused, or the worker is stopping."""


class JobAttempt(ABC):
    """One worker's attempt at a job that it has claimed. `stopping` returns whether the worker must stop."""

    def __init__(self, resources: Resources, job: Job, stopping: Callable[[], bool]) -> None:
        self._resources, self._job, self._stopping = resources, job, stopping
        self._lease = Lease(resources.database, resources.jobs, job, resources.settings.lease_seconds)
        self._run = RunDirectory(resources.runs, job.id)

    def run(self) -> str:
        """Run the attempt and return the job's new status, or "lost". Raises errors only if this program has a bug."""
        with self._lease:
            try:
                return self._try()
            except LeaseLost:
                return LOST

    @abstractmethod
    def _work(self) -> str:
        """Do the work, end or release the job, and return its new status."""

    @abstractmethod
    def _fail(self, failed: TrainFailed) -> str:
        """End the job as failed, and return its status."""

    @abstractmethod
    def _position(self) -> int:
        """Return the step from which the next attempt continues."""

    def _try(self) -> str:
        try:
            return self._work()
        except Interrupted:
            return self._give_back()
        except OstinatoError as error:
            if disk_errors.awaited(error):
                return self._wait_for_disk(error)
            if error.retryable:
                return self._retry(error.message, lost=False)
            return self._fail(TrainFailed(error.code, error.message, error.param))
        except RunBusy as error:  # not counted as a loss: the worker of the earlier trainer may be frozen
            return self._retry(str(error), lost=False)
        except OSError as error:
            log.exception("%s: the attempt failed", self._job.id)
            if disk_errors.awaited(error):
                return self._wait_for_disk(error)
            return self._retry(transcript.describe_error(error))

    def _lock(self) -> int:
        """Lock the run directory, because two trainers must not write to it at the same time.

        An earlier attempt's trainer usually exits on its own, because its lease is not renewed. A trainer that does not
        exit is killed.
        """
        try:
            return self._run.lock(STRAY_SECONDS, self._check)
        except RunBusy:
            self._resources.trainers.kill_stray(self._job.id, self._run.path)
            return self._run.lock(self._lease.seconds, self._check)

    def _listed(self, trainer: Trainer, program: str) -> AbstractContextManager[None]:
        job = self._job
        return self._resources.trainers.listed(job.id, job.attempt, trainer.pid, job.parent_id, program)

    def _check(self) -> None:
        self._lease.check()
        if self._to_stop():
            raise Interrupted

    def _to_stop(self) -> bool:
        return self._lease.cancel or self._lease.pause or self._stopping()

    def _wait_for_disk(self, error: Exception) -> str:
        """Queue the job again, because the disk is not writable. The attempt does not count as lost."""
        cause = disk_errors.awaited(error)
        assert cause is not None
        log.warning("%s: attempt %d waits for the disk: %s", self._job.id, self._job.attempt, cause)
        what = transcript.describe_error(cause)
        message = f"{what[0].upper()}{what[1:]}: the job waits and continues when the problem is solved"
        # The event's step is the step from which the job will continue. Events are unique by (kind, step), so the event
        # is logged only once per step, even if many attempts find the disk full.
        event = NewEvent(kind="job.waiting", step=self._position(), level="warn", message=message, data=WAITS_FOR_DISK)
        return self._requeue(event, DISK_SECONDS, lost=False)

    def _give_back(self) -> str:
        """Release the job after a requested stop. The job is then cancelled, paused, or queued for another worker."""
        jobs, job = self._resources.jobs, self._job
        return self._lease.end(lambda s: jobs.requeue(s, job.id, job.attempt, lost=False))

    def _retry(self, why: str, *, lost: bool = True) -> str:
        """Queue the job again after a failure. The next attempt continues from the newest resume point.

        If `lost` is true, the attempt counts towards the limit on lost attempts; when the limit is reached, the job
        fails.
        """
        resources, job = self._resources, self._job
        if lost and job.losses + 1 >= resources.settings.max_attempts:
            failed = TrainFailed("trainer_lost", f"{why}; the limit of {job.losses + 1} failed attempts is reached")
            return self._fail(failed)
        wait = retry.delay(job.losses) if lost else UNAVAILABLE_SECONDS
        message = transcript.clean(f"Attempt {job.attempt} ended: {why}. The next attempt starts in {wait:g} s")
        event = attempt_lost(job.attempt, message, transcript.clean(why))
        return self._requeue(event, wait, lost=lost)

    def _requeue(self, event: NewEvent, wait: float, *, lost: bool) -> str:
        jobs, job = self._resources.jobs, self._job

        def end(session: Session) -> str:
            # Use one transaction, so that the event is logged only if this attempt still holds the job.
            jobs.log(session, job.id, [event])
            return jobs.requeue(session, job.id, job.attempt, lost=lost, delay=wait)

        return self._lease.end(end)
