"""`/v1/fine_tuning/jobs/{id}/events` and `/checkpoints`: a training job's log and checkpoints."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.api.http.auth import Principal
from app.api.http.job_objects import EventList, EventObject
from app.api.http.job_stream import STREAMED, Followed, Points, list_or_follow
from app.api.http.replies import JsonReply
from app.api.http.services import ServicesDep
from app.api.openai.fine_tuning_objects import CheckpointList, checkpoint_object, job_object
from app.api.openapi.describe import LOOKUP, replies
from app.api.openapi.parameters import JOB_ID

router = APIRouter(prefix="/v1/fine_tuning/jobs", tags=["training"])

_EVENT = {
    "id": "ftevent-77a1b2c3d4e5f60718293a4b",
    "object": "fine_tuning.job.event",
    "created_at": 1745383070,
    "level": "info",
    "message": "Step 100/400: training loss=0.4211",
    "type": "metrics",
    "data": {"step": 100, "total_steps": 400, "train_loss": 0.4211},
}
_STREAM = (
    f'id: {_EVENT["id"]}\ndata: {{"id":"{_EVENT["id"]}","object":"fine_tuning.job.event",…}}\n\n'
    f'event: job\ndata: {{"id":"{JOB_ID}","object":"fine_tuning.job",…}}\n\ndata: [DONE]\n\n'
)
_CHECKPOINT = {
    "id": "ftckpt-19c0d1e2f30415263748596a",
    "object": "fine_tuning.job.checkpoint",
    "created_at": 1745383090,
    "fine_tuned_model_checkpoint": "ftckpt-19c0d1e2f30415263748596a",
    "fine_tuning_job_id": JOB_ID,
    "step_number": 200,
    "metrics": {"step": 200, "train_loss": 0.39, "valid_loss": 0.44},
}


@router.get(
    "/{job_id}/events",
    operation_id="list_fine_tuning_events",
    summary="List the events of a training job",
    description=f"Returns the newest event first. Events of the type `metrics` contain the metrics of a step; all "
    f"others are messages. {STREAMED}",
    response_model=None,
    responses=replies(
        EventList,
        {"object": "list", "data": [_EVENT], "has_more": True},
        LOOKUP,
        stream=_STREAM,
        event=EventObject,
    ),
)
async def events(
    request: Request,
    services: ServicesDep,
    principal: Principal,
    job_id: str,
    after: str | None = None,
    limit: int = 20,
    stream: bool = False,
    points: Points | None = None,
) -> Response:
    followed = Followed(services.jobs, job_id, principal, job_object, points)
    return await list_or_follow(request, services, followed, after=after, limit=limit, stream=stream)


@router.get(
    "/{job_id}/checkpoints",
    operation_id="list_fine_tuning_checkpoints",
    summary="List the checkpoints of a training job",
    description="Returns the latest checkpoint first. A checkpoint can be used as a model while it is kept.",
    response_model=None,
    responses=replies(CheckpointList, {"object": "list", "data": [_CHECKPOINT], "has_more": False}, LOOKUP),
)
def checkpoints(
    services: ServicesDep, principal: Principal, job_id: str, after: str | None = None, limit: int = 10
) -> Response:
    page = services.jobs.checkpoints(job_id, principal, after=after, limit=limit)
    data = [checkpoint_object(item) for item in page.items]
    ends = (data[0].id, data[-1].id) if data else (None, None)
    return JsonReply(CheckpointList("list", data, page.has_more, *ends))
