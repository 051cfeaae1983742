"""`GET /v1/queue`: the number of unfinished jobs, and the workers that are running jobs."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import APIRouter
from starlette.responses import Response

from app.api.http.auth import Principal
from app.api.http.replies import JsonReply
from app.api.http.services import ServicesDep
from app.api.openapi.describe import COMMON, replies
from app.api.openapi.parameters import JOB_ID
from app.jobs.queue_snapshot import HeldJob, QueueSnapshot, read_queue
from app.jobs.records import BATCH, EVALUATION, FINE_TUNING, PAUSED, QUEUED, RUNNING

router = APIRouter(tags=["operations"])


class JobCounts(msgspec.Struct, frozen=True):
    """The number of unfinished jobs of one kind. An auto job counts once, without its trials."""

    queued: int
    running: int
    paused: int


class HeldJobObject(msgspec.Struct, frozen=True):
    """A job, or a trial of an auto job, that a worker is running. `name` is the model that a training job publishes; it
    is empty for other kinds of jobs. `progress` is between 0 and 1."""

    id: str
    kind: str
    name: str
    worker: str
    progress: float
    started_at: int | None


class QueueReport(msgspec.Struct, frozen=True):
    """The queue. `running` contains up to 100 jobs, oldest first."""

    object: str
    fine_tuning: JobCounts
    evaluations: JobCounts
    batches: JobCounts
    running: list[HeldJobObject]


_EXAMPLE: dict[str, Any] = {
    "object": "queue",
    "fine_tuning": {"queued": 3, "running": 1, "paused": 0},
    "evaluations": {"queued": 0, "running": 0, "paused": 0},
    "batches": {"queued": 0, "running": 0, "paused": 0},
    "running": [
        {
            "id": JOB_ID,
            "kind": "fine_tuning",
            "name": "reviews",
            "worker": "host-71",
            "progress": 0.4,
            "started_at": 1745383065,
        }
    ],
}


@router.get(
    "/v1/queue",
    operation_id="retrieve_queue",
    summary="Count the jobs in the queue, and list the running jobs with their workers",
    description=(
        "Returns the number of the caller's unfinished jobs by kind and status, and the jobs that workers are running, "
        "with the workers' names. Workers without a job are not listed, because the service learns about a worker only "
        "when the worker takes a job."
    ),
    response_model=None,
    responses=replies(QueueReport, _EXAMPLE, COMMON),
)
def retrieve_queue(services: ServicesDep, principal: Principal) -> Response:
    snapshot = read_queue(services.database, principal)
    running = [_running_job(job) for job in snapshot.running_jobs]
    tuning, evaluations, batches = (_counts(snapshot, kind) for kind in (FINE_TUNING, EVALUATION, BATCH))
    return JsonReply(QueueReport("queue", tuning, evaluations, batches, running), {"cache-control": "no-store"})


def _counts(snapshot: QueueSnapshot, kind: str) -> JobCounts:
    return JobCounts(*(snapshot.counts.get((kind, status), 0) for status in (QUEUED, RUNNING, PAUSED)))


def _running_job(job: HeldJob) -> HeldJobObject:
    since = None if job.since is None else int(job.since)
    return HeldJobObject(job.id, job.kind, job.name, job.worker, job.progress, since)
