"""The right of one attempt to its job, kept alive by a thread of its own.

The thread renews the lease in the database, passes each renewal on to the trainer and listens for what people ask; it
ends the trainer by itself when the lease is lost or the job is to be cancelled, whatever the worker is busy with.
Knows the database and the trainer's signals; knows nothing of training.
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
from app.jobs.records import Fenced, Flags, Job
from app.jobs.repository import JobRepository
from app.worker.trainer import Trainer

T = TypeVar("T")
log = logging.getLogger(__name__)

LOOK_SECONDS = 0.4  # between two looks at what people ask: a cancelled trainer is gone within two seconds
RENEWALS = 4  # in one lease
TRAINER_SHARE = 0.75  # of the lease: the trainer gives up before the job can be another's
FIRST_WAIT, LONGEST_WAIT = 0.1, 2.0  # seconds between tries while the database is away


class LeaseLost(Exception):
    """The job is another's by now, or may be: nothing more may be written or started."""


class Lease:
    """Used in a `with` statement around an attempt. `lost`, `cancel` and `pause` may be read from any thread."""

    def __init__(self, database: Database, jobs: JobRepository, job: Job, seconds: float) -> None:
        self._database, self._jobs = database, jobs
        self.job, self.seconds = job, seconds
        self.lost = self.cancel = self.pause = False
        self._period = min(LOOK_SECONDS, seconds / RENEWALS)
        self._trainer: Trainer | None = None
        self._renewed = time.monotonic()
        self._over = threading.Event()
        self._quiet = threading.Lock()  # held while the attempt writes its last words
        keep = copy_context().run  # what the thread logs belongs to the job that its maker works on
        self._thread = threading.Thread(target=keep, args=(self._keep,), name=f"lease-{job.id}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def guard(self, trainer: Trainer) -> None:
        """From here on, end this trainer when the lease is lost or the job is cancelled."""
        self._trainer = trainer
        trainer.renew()
        if self.lost or self.cancel:
            trainer.kill()

    def check(self) -> None:
        """Raise LeaseLost unless the attempt may go on."""
        if self.lost or time.monotonic() - self._renewed > self.seconds:
            self._lose("it ran out")
            raise LeaseLost

    def write(self, work: Callable[[Session], T]) -> T:
        """Do `work` in one transaction; wait for a database that is away, as long as the lease lasts.

        Raises LeaseLost. `work` may run again after a failure, and must be fenced: a transaction whose commit was not
        confirmed may have happened.
        """
        wait = FIRST_WAIT
        while True:
            self.check()
            try:
                with self._database.transaction() as session:
                    return work(session)
            except Fenced:
                self._lose("the job is another's, or has ended")
                raise LeaseLost from None
            except DatabaseUnavailable:
                log.warning("%s: the database is away; waiting", self.job.id)
                time.sleep(wait)
                wait = min(2 * wait, LONGEST_WAIT)

    def end(self, work: Callable[[Session], T]) -> T:
        """The attempt's last `write`, after which the job is no longer its own."""
        with self._quiet:
            result = self.write(work)
            self._over.set()
        return result

    def _keep(self) -> None:
        while not self._over.wait(self._period):
            try:
                with self._quiet:
                    if not self._over.is_set():
                        self._look()
            except DatabaseUnavailable:
                pass  # the next look may find it back
            except Exception:
                log.exception("%s: the lease could not be looked at", self.job.id)
            if time.monotonic() - self._renewed > self.seconds and not self._over.is_set():
                self._lose("it ran out")
            if self.lost:
                return

    def _look(self) -> None:
        before = time.monotonic()
        renew = before - self._renewed + self._period >= self.seconds / RENEWALS
        flags = self._renew() if renew else self._read()
        if flags is None:
            return self._lose("the job is another's, or has ended")
        if renew:
            self._renewed = before
            # A renewal that took long (this process was frozen) is old news: the trainer would trust it for too long.
            if self._trainer and time.monotonic() - before < (1 - TRAINER_SHARE) * self.seconds:
                self._trainer.renew()
        self.pause = flags.pause
        self.cancel = flags.cancel
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
            log.warning("%s: the lease of attempt %d is lost: %s", self.job.id, self.job.attempt, why)
        self.lost = True
        if self._trainer:
            self._trainer.kill()
