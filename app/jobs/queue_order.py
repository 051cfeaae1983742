"""The order in which jobs of the same priority are claimed."""

from __future__ import annotations

from sqlalchemy import ColumnElement, case

from app.db.tables import JobRow
from app.jobs.records import EVALUATION, Job

HEAD_START = 86_400.0  # seconds by which evaluations, which are short, go before training jobs of the same priority


def queue_time() -> ColumnElement[float]:
    """The time by which jobs of the same priority are ordered.

    Evaluations have a limited head start over training jobs, so that training jobs cannot wait forever.
    """
    return JobRow.created_at - case((JobRow.kind == EVALUATION, HEAD_START), else_=0.0)


def queue_time_of(job: Job) -> float:
    """Return the `queue_time` of one job."""
    return job.created_at - (HEAD_START if job.kind == EVALUATION else 0.0)
