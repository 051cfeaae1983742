"""Changes to a job's state that both clients and workers can make."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.db.database import Database
from app.db.tables import JobRow
from app.jobs import batch_progress, logbook
from app.jobs.records import (
    BATCH,
    CANCELLED,
    FAILED,
    FINE_TUNING,
    OVER,
    PAUSED,
    QUEUED,
    SUCCEEDED,
    WAITING,
    Flags,
    NewEvent,
)
from app.webhooks import outbox

NO_LEASE: dict[str, Any] = {"lease_owner": None, "lease_until": None, "estimated_finish": None}
NO_REQUESTS: dict[str, Any] = {"cancel_requested": False, "pause_requested": False}
END_EVENTS = {  # status -> level and message of the last event
    SUCCEEDED: ("info", "The job has successfully completed"),
    CANCELLED: ("info", "The job has been cancelled"),
    FAILED: ("error", "The job has failed"),
}


class JobStates:
    """Changes the state of a job row that the caller's transaction has locked, and logs each change.

    The methods do not check whether a change is allowed. The caller must check this while it holds the lock on the row.
    Without the lock, another worker could claim the job, or another client could end it, between the check
    and the write.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def end(self, session: Session, job_id: str, status: str, **values: Any) -> str:
        """End the job as succeeded, failed or cancelled, and return the status. `values` are other columns to write."""
        now = self._database.now(session)
        complete = {"progress": 1.0} if status == SUCCEEDED else {}
        end = {"status": status, "phase": OVER, "finished_at": now, **NO_LEASE, **NO_REQUESTS, **complete, **values}
        self.update(session, job_id, **end)
        level, message = END_EVENTS[status]
        error = values.get("error")
        if error:
            message = f"{message}: {error['message']}"
        # Events are unique by (kind, step), so the log never has a second "job.ended" event.
        self.log(session, job_id, [NewEvent(kind="job.ended", step=0, level=level, message=message)])
        self._announce(session, job_id, now)
        return status

    def obey(self, session: Session, job_id: str, flags: Flags) -> str:
        """Cancel or pause the job as requested, and return the new status. Cancelling takes precedence over pausing."""
        if flags.cancel:
            return self.end(session, job_id, CANCELLED)
        self.update(session, job_id, status=PAUSED, phase=WAITING, **NO_LEASE, **NO_REQUESTS)
        self._note(session, job_id, "job.paused", "The job is paused")
        return PAUSED

    def resume(self, session: Session, job_id: str) -> None:
        """Queue a paused job."""
        self.update(session, job_id, status=QUEUED, phase=WAITING, **NO_LEASE, **NO_REQUESTS)
        self._note(session, job_id, "job.resumed", "The job is waiting for a worker again")

    def log(self, session: Session, job_id: str, events: list[NewEvent]) -> None:
        """Append events to the job's log, with timestamps from the database's clock."""
        logbook.append(session, job_id, events, self._database.now(session))

    def update(self, session: Session, job_id: str, **values: Any) -> None:
        """Update columns of the locked row."""
        statement = update(JobRow).where(JobRow.id == job_id).values(**values)
        session.execute(statement.execution_options(synchronize_session=False))

    def _announce(self, session: Session, job_id: str, now: float) -> None:
        """Enqueue the webhook event of an ended training job or batch. Evaluations and trials have no such events."""
        query = select(JobRow.owner, JobRow.kind, JobRow.parent_id, JobRow.status, JobRow.error)
        job = session.execute(query.where(JobRow.id == job_id)).one()
        if job.kind == BATCH:
            outbox.enqueue(session, job.owner, f"batch.{batch_progress.ended_as(job.status, job.error)}", job_id, now)
        elif job.kind == FINE_TUNING and job.parent_id is None:
            outbox.enqueue(session, job.owner, f"fine_tuning.job.{job.status}", job_id, now)

    def _note(self, session: Session, job_id: str, kind: str, message: str) -> None:
        # A job can be paused and resumed many times, so the step is the time in milliseconds, which makes the events
        # distinct. No event is logged twice, because each is added in the same transaction as the change that it
        # reports.
        step = int(self._database.now(session) * 1000)
        self.log(session, job_id, [NewEvent(kind=kind, step=step, message=message)])
