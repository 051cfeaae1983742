"""SQL for the trials of auto jobs.

An auto job is claimed twice: first to plan its trials and then, when all trials have ended, to publish the best one.
While its trials run, the auto job has the status "running", but no lease and no worker. A trial is a separate job, with
the auto job as its parent. Three rules prevent conflicts:

- All of a job's trials are inserted in the transaction that ends its planning, so a job has either none or all of them.
- A transaction that changes a parent and its trials locks the parent first. Workers that hold a trial never lock its
  parent in the same transaction, so no deadlock can occur.
- A parent ends after its trials. A request to cancel or pause the parent is passed on to its trials. When the trials
  have stopped, the next worker that looks for a job also cancels or pauses the parent.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, and_, or_, select
from sqlalchemy.orm import Session, aliased

from app.db.paging import new_id
from app.db.tables import JobRow
from app.jobs import logbook
from app.jobs.records import PAUSED, QUEUED, RUNNING, WAITING, Job, NewEvent
from app.wire.measurement import shown_metrics
from app.wire.trainer import PlannedTrial, TrainSpec

ACTIVE = (QUEUED, RUNNING)
UNFINISHED = (*ACTIVE, PAUSED)
FIGURES = ("accuracy", "macro_f1", "bits_per_character", "r2", "mae", "loss")
_INHERITED = ("owner", "priority", "training_file", "validation_file", "seed", "publish_name", "request_id")


def of(session: Session, parent_id: str, *, lock: bool = False) -> list[Job]:
    """Load a job's trials, in order. If `lock` is true, lock their rows; the caller must have locked the parent."""
    query = select(JobRow).where(JobRow.parent_id == parent_id).order_by(JobRow.trial)
    query = query.with_for_update() if lock else query
    return [Job.of(row) for row in session.scalars(query.execution_options(populate_existing=True))]


def attach(session: Session, jobs: Sequence[Job], now: float) -> list[Job]:
    """Return the jobs with their trials. The progress of an unfinished auto job is computed from its trials.

    A job that was read just before its trials were planned is returned without them.
    """
    parents = [job.id for job in jobs if job.automatic and (job.ended or "trials" in job.settled)]
    trials: dict[str, list[Job]] = {}
    for row in session.scalars(select(JobRow).where(JobRow.parent_id.in_(parents)).order_by(JobRow.trial)):
        trials.setdefault(str(row.parent_id), []).append(Job.of(row).seen_at(now))
    return [_summed(job, tuple(trials[job.id]), now) if job.id in trials else job for job in jobs]


def _summed(job: Job, of_job: tuple[Job, ...], now: float) -> Job:
    """Return an auto job with its trials. The progress of an unfinished job is derived from its trials."""
    if job.ended:
        return replace(job, trials=of_job)
    works = [max(1.0, float(planned["work"])) for planned in job.settled["trials"]]
    done = [work * (1.0 if trial.ended else trial.progress) for work, trial in zip(works, of_job, strict=True)]
    paces = [  # seconds per unit of work, as estimated by each running trial
        (trial.estimated_finish - now) / (work * (1.0 - trial.progress))
        for work, trial in zip(works, of_job, strict=True)
        if trial.estimated_finish is not None and not trial.lost and trial.progress < 1.0
    ]
    left = max(paces) * (sum(works) - sum(done)) if paces else None
    return replace(
        job,
        trials=of_job,
        progress=sum(done) / sum(works),
        estimated_finish=None if left is None else now + left,
        trained_tokens=sum(trial.trained_tokens or 0 for trial in of_job),
    )


def insert(session: Session, parent: Job, planned: Sequence[PlannedTrial], now: float) -> None:
    """Insert the trials of a locked job as queued jobs.

    The trials take their parent's position in the queue, ahead of all jobs that were created later.
    """
    for number, trial in enumerate(planned, start=1):
        row = JobRow(
            id=new_id("ftjob"),
            parent_id=parent.id,
            trial=number,
            status=QUEUED,
            phase=WAITING,
            body_sha256="",  # no request created this job, so retries cannot find it
            request=_request(parent, trial),
            model=trial.model,
            created_at=parent.created_at,
            **{name: getattr(parent, name) for name in _INHERITED},
        )
        session.add(row)
        session.flush()
        created = NewEvent(kind="job.created", step=0, message=f"Created as trial {number} of {parent.id}")
        logbook.append(session, row.id, [created], now)


def waits() -> ColumnElement[bool]:
    """The condition that a job is an auto job that is waiting for its trials."""
    return and_(JobRow.status == RUNNING, JobRow.lease_until.is_(None))


def exist(statuses: Iterable[str] | None = None) -> ColumnElement[bool]:
    """The condition that a job has trials or, if `statuses` is given, trials with one of these statuses."""
    # Every query gets a new alias. SQLAlchemy completes an alias when it is first used, and is not thread-safe
    # there: if threads share the alias, the condition may refer to the job instead of the trial until the program ends.
    trial = aliased(JobRow)
    query = select(trial.id).where(trial.parent_id == JobRow.id)
    if statuses is not None:
        query = query.where(trial.status.in_(tuple(statuses)))
    return query.correlate(JobRow).exists()


def complete() -> ColumnElement[bool]:
    """The condition that a job is waiting for its trials and all of them have ended."""
    return and_(waits(), ~exist(UNFINISHED))


def stopped() -> ColumnElement[bool]:
    """The condition that a client has asked to cancel or pause a job and all of the job's trials have stopped."""
    cancelled = and_(JobRow.cancel_requested, ~exist(UNFINISHED))
    paused = and_(JobRow.pause_requested, exist([PAUSED]), ~exist(ACTIVE))
    return and_(waits(), or_(cancelled, paused))


def _request(parent: Job, trial: PlannedTrial) -> dict[str, Any]:
    """Return a trial's request: its parent's request with the trial's architecture as the model."""
    spec = msgspec.convert(parent.request["spec"], TrainSpec)
    changed = msgspec.structs.replace(spec, model=trial.model, training=trial.training)
    training = msgspec.to_builtins(trial.training)
    return parent.request | {"model": trial.model, "training": training, "spec": msgspec.to_builtins(changed)}


def ended(trial: Job, count: int) -> NewEvent:
    """Return an event for the parent's log that reports the end of one of its `count` trials."""
    about = f"Trial {trial.trial} of {count}, {trial.model}"
    data: dict[str, Any] = {"trial": trial.trial, "model": trial.model, "job_id": trial.id, "status": trial.status}
    if trial.result is None:
        problem = (trial.error or {}).get("message")
        message = f"{about}, {trial.status}" + (f": {problem}" if problem else "")
        return NewEvent(kind="trial.ended", step=trial.trial or 0, level="warn", message=message, data=data)
    figures = figures_of(trial.result)
    data |= {"parameters": trial.result.get("parameters"), **figures}
    message = f"{about}: {shown_metrics(figures, '.4g')}"
    return NewEvent(kind="trial.ended", step=trial.trial or 0, message=message, data=data)


def figures_of(result: dict[str, Any]) -> dict[str, float]:
    """Return a trial's main validation metrics by name, and the number of `rows`."""
    validation = (result.get("metrics") or {}).get("validation") or {}
    return {
        name: float(validation[name]) for name in (*FIGURES, "rows") if isinstance(validation.get(name), int | float)
    }
