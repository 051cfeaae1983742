"""An attempt's lease on its job, renewed by a separate thread.

The thread renews the lease in the database, notifies the trainer of each renewal, and reads the flags that clients set
to cancel or pause the job. The thread kills the trainer when the lease is lost or a client cancels the job, even if the
worker's main thread is blocked.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextvars import copy_context
from typing import Self, TypeVar

from sqlalchemy.orm import Session

from app.db.database import Database, DatabaseUnavailable
from app.jobs.claims import JobClaims
from app.jobs.records import Fenced, Flags, Job
from app.runs.trainer import Trainer

T = TypeVar("T")
log = logging.getLogger(__name__)

POLL_SECONDS = 0.4  # the interval between two reads of the flags, so that a cancelled job's trainer ends within seconds
RENEWALS = 4  # number of renewals during one lease
TRAINER_SHARE = 0.75  # fraction of the lease after which the trainer exits, before another worker can claim the job
FIRST_WAIT, LONGEST_WAIT = 0.1, 2.0  # seconds between retries while the database is unavailable


class LeaseLost(Exception):
    """Another attempt may hold the job. This attempt must not write or start anything."""


class Lease:
    """A context manager that keeps an attempt's lease renewed. Any thread may read `lost`, `cancel` and `pause`."""

    def __init__(self, database: Database, jobs: JobClaims, job: Job, seconds: float) -> None:
        self._database, self._jobs = database, jobs
        self.job, self.seconds = job, seconds
        self.lost = self.cancel = self.pause = False
        self._period = min(POLL_SECONDS, seconds / RENEWALS)
        self._trainer: Trainer | None = None
        self._renewed = time.monotonic()
        self._over = threading.Event()
        self._ending = threading.Lock()  # held while the attempt releases the job or the thread reads the job's flags
        in_context = copy_context().run  # so that the thread's log lines also contain the ids of the request and job
        self._thread = threading.Thread(target=in_context, args=(self._keep,), name=f"lease-{job.id}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def guard(self, trainer: Trainer) -> None:
        """Kill this trainer as soon as the lease is lost or a client cancels the job."""
        self._trainer = trainer
        trainer.renew()
        # The thread may have lost the lease and returned before this trainer was set.
        if self.lost or self.cancel:
            trainer.kill()

    def check(self) -> None:
        """Raise LeaseLost if the lease has been lost or has expired."""
        # Check the clock as well as the flag: if this process was frozen, the lease may have expired, but the renewing
        # thread may not have run yet.
        if self.lost or time.monotonic() - self._renewed > self.seconds:
            self._lose("the lease expired")
            raise LeaseLost

    def write(self, work: Callable[[Session], T]) -> T:
        """Run `work` in a transaction. If the database is unavailable, try again until the lease expires.

        `work` must raise Fenced if the attempt no longer holds the job. `work` may run twice, because a commit may
        succeed even if its confirmation is lost. Raises LeaseLost.
        """
        wait = FIRST_WAIT
        while True:
            self.check()
            try:
                with self._database.transaction() as session:
                    return work(session)
            except Fenced:
                self._lose("another attempt holds the job, or the job has ended")
                raise LeaseLost from None
            except DatabaseUnavailable:
                log.warning("%s: the database is unavailable; waiting", self.job.id)
                time.sleep(wait)
                wait = min(2 * wait, LONGEST_WAIT)

    def end(self, work: Callable[[Session], T]) -> T:
        """Run the attempt's last transaction, which releases the job."""
        # Without the lock, the thread could read that the job has been released before `_over` is set, and report a
        # lost lease.
        with self._ending:
            result = self.write(work)
            self._over.set()
        return result

    def _keep(self) -> None:
        while not self._over.wait(self._period):
            try:
                with self._ending:
                    if not self._over.is_set():
                        self._look()
            except DatabaseUnavailable:
                pass  # the database may become available again before the lease expires
            except Exception:
                # This thread must survive any error, because it kills the trainer when the lease expires.
                log.exception("%s: the lease could not be renewed", self.job.id)
            if time.monotonic() - self._renewed > self.seconds and not self._over.is_set():
                self._lose("the lease expired")
            if self.lost:
                return

    def _look(self) -> None:
        """Read the flags. Also renew the lease if a renewal is due."""
        before = time.monotonic()
        renew = before - self._renewed + self._period >= self.seconds / RENEWALS
        flags = self._renew() if renew else self._read()
        if flags is None:
            return self._lose("another attempt holds the job, or the job has ended")
        if renew:
            # The lease is timed from before the request, so it never lasts longer in this process than in the database.
            self._renewed = before
            # A trainer measures its share of the lease from the time of the last notification of a renewal. If the
            # renewal took long, because this process was frozen or the database was slow, a notification could make the
            # trainer outlive the lease. This notification is therefore skipped, and the trainer waits for the next one.
            if self._trainer and time.monotonic() - before < (1 - TRAINER_SHARE) * self.seconds:
                self._trainer.renew()
        self.pause = flags.pause
        self.cancel = flags.cancel
        # Kill the trainer rather than asking it to stop: a cancelled job does not need a resume point.
        if flags.cancel and self._trainer:
            self._trainer.kill()

    def _renew(self) -> Flags | None:
        with self._database.transaction() as session:
            return self._jobs.renew(session, self.job.id, self.job.attempt, self.seconds)

    def _read(self) -> Flags | None:
        with self._database.read() as session:
            return self._jobs.flags(session, self.job.id, self.job.attempt)

    def _lose(self, why: str) -> None:
        if not self.lost:
            log.warning("%s: attempt %d has lost its lease: %s", self.job.id, self.job.attempt, why)
        self.lost = True
        if self._trainer:
            self._trainer.kill()
