"""The worker's loop: look for a job, work on it, look again. One job at a time.

Knows when to claim and when to stop; what an attempt is, it leaves to `attempt`.
"""

from __future__ import annotations

import logging
import os
import socket
import time

from app import telemetry
from app.db.database import DatabaseUnavailable
from app.jobs import logbook
from app.jobs.records import ENDED, Job
from app.worker import run_directory as rundir
from app.worker import trainers as listing
from app.worker.attempt import Attempt
from app.worker.retention import Upkeep
from app.worker.workplace import Workplace

log = logging.getLogger(__name__)
IDLE_SECONDS = 0.5  # between two looks for work
STOP_POLL_SECONDS = 0.1
DEFECT_SECONDS = 1.0
FIRST_WAIT, LONGEST_WAIT = 0.5, 10.0  # seconds between tries while the database is away


def default_name() -> str:
    return f"{socket.gethostname()[:90]}-{os.getpid()}"


class Worker:
    """`run` returns after `stop`, which may be called from a signal handler or another thread."""

    def __init__(self, place: Workplace, name: str | None = None) -> None:
        self._place = place
        self.name = name or default_name()
        self._stopping = False
        self._upkeep = Upkeep(place)

    def stop(self) -> None:
        """Let the trainer save and stop, give the job back, and return from `run`."""
        self._stopping = True  # no lock: a signal handler may interrupt its holder

    def run(self) -> None:
        log.info("worker %s started", self.name)
        listing.sweep(self._place.trainers)
        wait = FIRST_WAIT
        while not self._stopping:
            try:
                worked = self.step()
                self._upkeep.run_if_due()
                wait = FIRST_WAIT
            except DatabaseUnavailable as away:
                log.warning("%s (looking again in %g s)", away.message, wait)
                self._rest(wait)
                wait = min(2 * wait, LONGEST_WAIT)
                continue
            if not worked:
                self._rest(IDLE_SECONDS)
        log.info("worker %s stopped", self.name)

    def step(self) -> bool:
        """Claim a job and work on it until it is no longer this worker's; False where there is none."""
        job = self._claim()
        if job is None:
            return False
        with telemetry.about(job.request_id, job.id):
            self._attempt(job)
        self._tidy()
        return True

    def _attempt(self, job: Job) -> None:
        log.info("%s claimed: attempt %d", job.id, job.attempt)
        try:
            outcome = Attempt(self._place, job, lambda: self._stopping).run()
        except Exception:  # a defect of ours: the lease runs out, and the job is tried again, but not for ever
            log.exception("%s: attempt %d broke off", job.id, job.attempt)
            self._rest(DEFECT_SECONDS)
        else:
            log.info("%s: attempt %d over: %s", job.id, job.attempt, outcome)

    def _claim(self) -> Job | None:
        place = self._place
        with place.database.read() as session:
            if not place.jobs.claimable(session):
                return None
        with place.database.transaction() as session:
            settings = place.settings
            return place.jobs.claim(session, self.name, settings.lease_seconds, settings.max_attempts)

    def _rest(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not self._stopping and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, STOP_POLL_SECONDS))

    def _tidy(self) -> None:
        def over(names: list[str]) -> set[str]:
            with self._place.database.read() as session:
                return logbook.with_status(session, names, ENDED)

        try:
            rundir.prune(self._place.runs, self._place.settings.keep_runs, over)
        except OSError as error:
            log.warning("old runs could not be removed: %s", error)
