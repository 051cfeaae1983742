"""Stores the checkpoints that a trainer saves, and assigns each checkpoint an id by which it can be loaded."""

from __future__ import annotations

import logging
import time

import msgspec
from sqlalchemy.orm import Session

from app import disk_errors
from app.checkpoint import directory as checkpoint
from app.db.paging import new_id
from app.errors import OstinatoError
from app.jobs import logbook
from app.jobs.records import JobCheckpoint, NewEvent
from app.registry import metrics
from app.runs.run_directory import RunDirectory
from app.wire.trainer import CheckpointSaved
from app.worker import retry, transcript
from app.worker.lease import Lease
from app.worker.resources import Resources

log = logging.getLogger(__name__)


class Checkpoints:
    """The checkpoints of one attempt.

    Training does not wait for the blob store. If the store cannot accept a checkpoint, training continues, and the
    checkpoint stays pending until it has been stored.
    """

    def __init__(self, resources: Resources, lease: Lease, run: RunDirectory) -> None:
        self._resources, self._lease, self._run = resources, lease, run
        self._stored: set[int] = set()  # the steps of the stored checkpoints
        self._pending: dict[int, CheckpointSaved] = {}  # step -> event
        self.error: Exception | None = None  # the reason why the last checkpoint could not be stored
        self._retry_at, self._failures = 0.0, 0  # the time of the next retry, and the number of consecutive failures

    @property
    def pending(self) -> bool:
        """Whether any checkpoint has not been stored yet."""
        return bool(self._pending)

    def load(self) -> None:
        """Load the steps at which earlier attempts stored checkpoints. Raises LeaseLost."""
        self._stored = stored_steps(self._lease)

    def store(self, saved: CheckpointSaved) -> NewEvent | None:
        """Store a checkpoint, unless it has already been stored.

        Returns the event for the job's log, or None if the checkpoint is still pending. Raises LeaseLost.
        """
        if saved.step not in self._stored:
            try:
                store(self._resources, self._lease, self._run, saved)
            except (OstinatoError, OSError) as error:
                log.warning("%s: cannot store the checkpoint of step %d: %s", self._lease.job.id, saved.step, error)
                self.error = error
                temporary = isinstance(error, OstinatoError) and error.retryable
                if not (temporary or disk_errors.awaited(error)):
                    return transcript.lost_checkpoint(saved.step)
                self._pending[saved.step] = saved
                return None
            self._stored.add(saved.step)
        return transcript.to_event(saved)

    def retry_pending(self, *, now: bool = False) -> list[NewEvent]:
        """Retry pending checkpoints if the retry delay has passed or `now` is set. Return the events for the log."""
        if not self._pending or not (now or time.monotonic() >= self._retry_at):
            return []
        pending, self._pending = self._pending, {}
        events = [event for saved in pending.values() if (event := self.store(saved)) is not None]
        self._failures = self._failures + 1 if self._pending else 0
        self._retry_at = time.monotonic() + retry.delay(self._failures)
        return events


def store(resources: Resources, lease: Lease, run: RunDirectory, saved: CheckpointSaved) -> None:
    """Upload one of the run's checkpoints and add its row. Raises OstinatoError, OSError and LeaseLost."""
    directory = run.inside(saved.directory)
    files, contents = resources.registry.upload_files(directory), checkpoint.read(directory)
    job = lease.job
    labels = {"labels": contents.labels} if contents.labels else {}

    def add(session: Session) -> None:
        resources.jobs.hold(session, job.id, job.attempt)
        # The blobs were uploaded before this transaction. Prevent garbage collection from deleting the blobs before the
        # row that refers to them is committed.
        resources.registry.hold_files(session, files)
        row = JobCheckpoint(
            id=new_id("ftckpt"),
            job_id=job.id,
            owner=job.owner,
            step=saved.step,
            digest=checkpoint.digest(files),
            files=msgspec.to_builtins(files),
            config=contents.raw_config | labels,
            metrics=metrics.reduce(dict(saved.metrics)),
            created_at=resources.database.now(session),
        )
        logbook.add_checkpoint(session, row)

    lease.write(add)


def stored_steps(lease: Lease) -> set[int]:
    """Return the steps of all checkpoints ever stored for the job. Raises LeaseLost."""
    return lease.write(lambda session: logbook.stored_steps(session, lease.job.id))
