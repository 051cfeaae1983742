"""A lane of the worker, which claims jobs and executes them one after another.

A worker has two lanes: one for training jobs and evaluations, and one for batches. Each lane runs in a separate thread.
A job in one lane does not delay the jobs in the other. A separate thread that runs alongside the first lane sends
webhook events.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import socket
import weakref
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import partial

from app import telemetry
from app.db.database import DatabaseUnavailable
from app.jobs import queries
from app.jobs.records import BATCH_LANE, ENDED, TRAINING_LANE, Job
from app.runs.run_directory import prune
from app.worker.attempt import Attempt
from app.worker.batch_attempt import BatchAttempt
from app.worker.job_attempt import JobAttempt
from app.worker.resources import Resources
from app.worker.retention import Retention

log = logging.getLogger(__name__)
IDLE_SECONDS = 0.5  # the interval between two queries for a job
DEFECT_SECONDS = 1.0
FIRST_WAIT, LONGEST_WAIT = 0.5, 10.0  # seconds between retries while the database is unavailable


def default_name() -> str:
    """Return a worker's default name: `<host>-<process id>`."""
    return f"{socket.gethostname()[:90]}-{os.getpid()}"


@dataclass(frozen=True, slots=True)
class Lane:
    """The kinds of jobs that a lane runs, and the class of its attempts."""

    kinds: tuple[str, ...]
    attempt: Callable[[Resources, Job, Callable[[], bool]], JobAttempt]


TRAINING = Lane(TRAINING_LANE, Attempt)
BATCHES = Lane(BATCH_LANE, BatchAttempt)


class Worker:
    """Executes one job of its lane at a time. `run` returns after `stop` has been called."""

    def __init__(self, resources: Resources, name: str | None = None, lane: Lane = TRAINING) -> None:
        self._resources, self._lane = resources, lane
        self.name = name or default_name()
        self._stopping = False
        self._retention = Retention(resources)
        # A mark of the database's state when no job could be claimed. No new query is made until a commit changes it.
        self._quiet: Hashable | None = None
        self._awake, self._waker = os.pipe()
        for descriptor in (self._awake, self._waker):
            os.set_blocking(descriptor, False)
            weakref.finalize(self, os.close, descriptor)

    def stop(self) -> None:
        """Stop the worker. `run` returns after the trainer has saved and exited and the job has been released.

        May be called from another thread or from a signal handler.
        """
        self._stopping = True  # a `threading.Event` could deadlock: the interrupted thread may hold its lock
        with contextlib.suppress(BlockingIOError):
            os.write(self._waker, b"\0")

    def run(self) -> None:
        """Execute jobs until `stop` is called. If the database is unavailable, wait for it."""
        log.info("worker %s started: %s", self.name, ", ".join(self._lane.kinds))
        self._resources.trainers.sweep()
        with self._resources.courier() if self._lane is TRAINING else contextlib.nullcontext():
            self._repeat()
        self._resources.changes.close()
        log.info("worker %s stopped", self.name)

    def _repeat(self) -> None:
        wait = FIRST_WAIT
        while not self._stopping:
            try:
                worked = self.step()
                if self._lane is TRAINING:  # so that only one lane of each process does this
                    self._retention.run_if_due()
                wait = FIRST_WAIT
            except DatabaseUnavailable as error:
                log.warning("%s (trying again in %g s)", error.message, wait)
                self._rest(wait)
                wait = min(2 * wait, LONGEST_WAIT)
                continue
            if not worked:
                self._rest(IDLE_SECONDS)

    def step(self) -> bool:
        """Claim a job and execute it until this worker no longer holds it. Return False if no job can be claimed."""
        job = self._claim()
        if job is None:
            return False
        with telemetry.about(job.request_id, job.id):
            self._attempt(job)
            self._report_trial(job)
        self._prune()
        return True

    def _attempt(self, job: Job) -> None:
        log.info("%s claimed: attempt %d", job.id, job.attempt)
        try:
            outcome = self._lane.attempt(self._resources, job, lambda: self._stopping).run()
        except Exception:
            # The exception is a defect of the worker. When the lease expires, the next claim counts the attempt as
            # lost, so the job is retried, but only until the limit of lost attempts is reached.
            log.exception("%s: attempt %d ended with an unexpected error", job.id, job.attempt)
            self._rest(DEFECT_SECONDS)
        else:
            log.info("%s: attempt %d ended: %s", job.id, job.attempt, outcome)

    def _report_trial(self, job: Job) -> None:
        """Report a trial's result in its parent's log. A report that fails is repeated after the next trial."""
        if job.parent_id is not None:
            with self._resources.database.transaction() as session:
                self._resources.jobs.report_trials(session, job.parent_id)

    def _claim(self) -> Job | None:
        resources, settings, kinds = self._resources, self._resources.settings, self._lane.kinds
        mark = resources.changes.mark()  # read before the query, so that a concurrent commit is noticed
        if mark is not None and mark == self._quiet:
            return None
        self._quiet = None
        with resources.database.read() as session:  # check first: idle workers must not take SQLite's write lock
            if not resources.jobs.claimable(session, kinds):
                self._quiet = None if resources.jobs.any_leases(session, kinds) else mark
                return None
        with resources.database.transaction() as session:
            return resources.jobs.claim(session, self.name, settings.lease_seconds, settings.max_attempts, kinds)

    def _rest(self, seconds: float) -> None:
        """Wait for `seconds`, or until `stop` is called."""
        if not self._stopping:
            select.select([self._awake], [], [], seconds)

    def _prune(self) -> None:
        def ended(kinds: tuple[str, ...], job_ids: list[str]) -> set[str]:
            with self._resources.database.read() as session:
                return queries.with_status(session, job_ids, ENDED, kinds)

        try:
            prune(self._resources.runs, self._resources.settings.keep_runs, partial(ended, TRAINING_LANE))
            # Keep no directories of batches: those that remain after a worker was lost may be large.
            prune(self._resources.runs, 0, partial(ended, BATCH_LANE))
        except OSError as error:
            log.warning("cannot remove old run directories: %s", error)
