"""SQL for client operations on jobs: create, cancel, pause and resume.

`JobClaims` contains the SQL for worker operations. Only `JobRepository` and `JobClaims` change a job's state.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import leases, usage
from app.db.database import Database
from app.db.tables import JobRow
from app.jobs import trials
from app.jobs.records import (
    BATCH,
    EVALUATION,
    FINE_TUNING,
    PAUSED,
    QUEUED,
    RUNNING,
    STOPPING,
    TRAINING,
    WAITING,
    Flags,
    Job,
    NewEvent,
)
from app.jobs.states import JobStates
from app.quotas import NO_QUOTAS, Quotas

NAMES = {FINE_TUNING: "fine-tuning job", EVALUATION: "evaluation", BATCH: "batch"}


class JobRepository:
    """Changes jobs on behalf of clients, in the caller's session. `Jobs` checks the permissions."""

    def __init__(self, database: Database, quotas: Quotas = NO_QUOTAS) -> None:
        self._database, self._quotas = database, quotas
        self._states = JobStates(database)

    def insert(self, session: Session, **values: Any) -> Job:
        """Insert a queued job; `values` are the columns that depend on the request.

        Call this last in a transaction. Raises JobQuotaExceeded or PriorityNotAllowed, or StorageQuotaExceeded if the
        owner's quota has no room for the job's results.
        """
        # Use the database's clock, because jobs are ordered by this time and may be created on several machines.
        values |= {"status": QUEUED, "phase": WAITING, "created_at": self._database.now(session)}
        row = JobRow(**values)
        session.add(row)
        session.flush()
        session.refresh(row)  # read the row again, because the database has set its defaults
        created = NewEvent(kind="job.created", step=0, message=f"Created {NAMES[row.kind]}: {row.id}")
        self._states.log(session, row.id, [created])
        usage.check_priority(self._quotas, row.owner, row.priority)
        usage.check_stored(session, self._quotas, row.owner, more=1)
        usage.check_queued(session, self._quotas, row.owner, row.created_at)
        return Job.of(row)

    def lock(self, session: Session, job_id: str) -> Job | None:
        """Read a job and lock its row until the transaction ends."""
        # SQLite has no FOR UPDATE clause, but runs only one writing transaction at a time.
        row = session.scalar(select(JobRow).where(JobRow.id == job_id).with_for_update())
        return Job.of(row) if row else None

    def cancel(self, session: Session, job: Job) -> None:
        """Cancel a locked job immediately if no worker holds it. If a worker holds it, set a flag for the worker.

        The job's trials are cancelled in the same way. The job ends when all of them have ended.
        """
        # Cancel the trials first. If no worker holds a trial, all trials end here, and the job ends with them. `_stop`
        # overwrites both flags, so an earlier request to pause must be passed to it.
        for trial in trials.of(session, job.id, lock=True):
            if not trial.ended:
                self._stop(session, trial, Flags(cancel=True, pause=trial.pause_requested))
        self._stop(session, job, Flags(cancel=True, pause=job.pause_requested))

    def pause(self, session: Session, job: Job) -> None:
        """Pause a locked job immediately if no worker holds it. If a worker holds it, set a flag for the worker.

        The job's unfinished trials are paused in the same way.
        """
        for trial in trials.of(session, job.id, lock=True):
            if trial.status in trials.ACTIVE:
                self._stop(session, trial, Flags(cancel=trial.cancel_requested, pause=True))
        self._stop(session, job, Flags(cancel=job.cancel_requested, pause=True))

    def resume(self, session: Session, job: Job) -> None:
        """Queue a locked, paused job again. If the job has trials, queue those that are paused too.

        Raises JobQuotaExceeded.
        """
        paused = trials.of(session, job.id, lock=True)
        for trial in paused:
            if trial.status == PAUSED:
                self._states.resume(session, trial.id)
        self._states.resume(session, job.id)
        # A job with trials runs without a lease until they have ended. If the job were queued, a worker could claim it
        # before the trials have ended.
        if paused:
            self._states.update(session, job.id, status=RUNNING, phase=TRAINING)
        usage.check_queued(session, self._quotas, job.owner, self._database.now(session))

    def _stop(self, session: Session, job: Job, flags: Flags) -> None:
        """Cancel or pause a locked job, or only set the flags if a worker holds the job or one of its trials."""
        # A job must not end before its trials. If workers hold some trials, only set the flags. Once the trials have
        # stopped, the next worker that looks for a job cancels or pauses this job.
        if (
            self._keeps_answers(job)
            or self._has_worker(session, job)
            or any(self._has_worker(session, trial) for trial in trials.of(session, job.id))
        ):
            values = {"cancel_requested": flags.cancel, "pause_requested": flags.pause, "phase": STOPPING}
            if job.kind == BATCH and not job.cancel_requested:
                values["report"] = (job.report or {}) | {"cancelling_at": self._database.now(session)}
            self._states.update(session, job.id, **values)
        else:
            self._states.obey(session, job.id, flags)

    def _keeps_answers(self, job: Job) -> bool:
        """Whether the job is a batch that a worker has begun. The next attempt stores its answers and ends it."""
        return job.kind == BATCH and job.attempt > 0

    def _has_worker(self, session: Session, job: Job) -> bool:
        # A running job whose lease has expired does not have a worker to act on a flag. If the worker returns, its
        # writes are rejected, because the job is no longer "running" or has a later attempt.
        return job.status == RUNNING and leases.is_valid(job.lease_until or 0.0, self._database.now(session))
