"""Training jobs over HTTP, in OpenAI's words. Knows routes and headers; what a job may be is said by `app.jobs`."""

from __future__ import annotations

import re
from typing import Annotated, Any, cast

from fastapi import APIRouter, Depends, Header, Request
from starlette.responses import Response

from app.api.http.auth import Principal
from app.api.http.bodies import JsonBody
from app.api.http.context import ServicesDep
from app.api.http.replies import JsonReply
from app.api.openai.fine_tuning_objects import (
    CheckpointList,
    EventList,
    JobList,
    JobObject,
    checkpoint_object,
    event_object,
    job_object,
)
from app.api.openapi.describe import COMMON, Noted, reads, replies
from app.api.openapi.parameters import FILE_ID, JOB_ID
from app.errors import InvalidRequest
from app.jobs.parsing import parse
from app.jobs.request import JobRequest

router = APIRouter(prefix="/v1/fine_tuning/jobs", tags=["training"])

METADATA = re.compile(r"metadata\[(.*)\]", re.DOTALL)
FOUND = (*COMMON, 404)
_body: JsonBody[Any] = JsonBody(cast(Any, dict[str, Any]))

EXAMPLE: dict[str, Any] = {
    "id": JOB_ID,
    "object": "fine_tuning.job",
    "created_at": 1745383065,
    "finished_at": None,
    "error": None,
    "fine_tuned_model": None,
    "hyperparameters": {"n_epochs": 5, "batch_size": "auto", "learning_rate_multiplier": "auto"},
    "model": "lstm",
    "organization_id": "local",
    "result_files": [],
    "seed": 1,
    "status": "queued",
    "trained_tokens": None,
    "training_file": FILE_ID,
    "validation_file": None,
    "estimated_finish": None,
    "integrations": None,
    "metadata": {"team": "support"},
    "method": {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 5}}},
    "suffix": "reviews",
    "user_provided_suffix": "reviews",
    "task": "classification",
    "phase": "waiting",
    "progress": 0.0,
    "attempt": 0,
    "priority": 0,
    "started_at": None,
    "columns": {},
    "validation_split": 0.1,
    "publish": {"name": "reviews", "alias": None, "expected_version": None},
    "training": {"epochs": 5},
}
_EVENT = {
    "id": "ftevent-77a1b2c3d4e5f60718293a4b",
    "object": "fine_tuning.job.event",
    "created_at": 1745383070,
    "level": "info",
    "message": "Step 100/400: training loss=0.4211",
    "type": "metrics",
    "data": {"step": 100, "total_steps": 400, "train_loss": 0.4211},
}
_CHECKPOINT = {
    "id": "ftckpt-19c0d1e2f30415263748596a",
    "object": "fine_tuning.job.checkpoint",
    "created_at": 1745383090,
    "fine_tuned_model_checkpoint": "ftckpt-19c0d1e2f30415263748596a",
    "fine_tuning_job_id": EXAMPLE["id"],
    "step_number": 200,
    "metrics": {"step": 200, "train_loss": 0.39, "valid_loss": 0.44},
}

_FILE_FIRST = "put an id of yours for the file, from POST /v1/files or GET /v1/files"


async def job_request(request: Request) -> JobRequest:
    """A dependency: the checked body."""
    return parse(await _body.read(request))


@router.post(
    "",
    operation_id="create_fine_tuning_job",
    summary="Train a model",
    description=(
        "Queues a training. `model` is an architecture (rnn, lstm, gru, transformer: from scratch) or a model "
        "reference (fine-tunes it). Everything but `model` and `training_file` is optional. With an "
        "`Idempotency-Key` a repeated request gives the job that the first one made."
    ),
    response_model=None,
    openapi_extra=reads(
        JobRequest,
        least=Noted({"model": "lstm", "training_file": FILE_ID}, f"The least; {_FILE_FIRST}"),
        more=Noted(
            {
                "model": "transformer",
                "training_file": FILE_ID,
                "task": "classification",
                "suffix": "reviews",
                "seed": 1,
                "publish": {"alias": "champion"},
                "training": {"epochs": 5, "layers": 4, "width": 256},
            },
            f"More; {_FILE_FIRST}",
        ),
    ),
    responses=replies(JobObject, EXAMPLE, FOUND),
)
def create(
    context: ServicesDep,
    principal: Principal,
    asked: Annotated[JobRequest, Depends(job_request)],
    idempotency_key: Annotated[str | None, Header()] = None,
    x_stainless_retry_count: Annotated[str | None, Header(include_in_schema=False)] = None,
) -> Response:
    tries = x_stainless_retry_count or ""
    retries = int(tries) if tries.isdecimal() and len(tries) < 6 else 0
    return JsonReply(job_object(context.jobs.create(asked, principal, idempotency_key, retries)))


@router.get(
    "",
    operation_id="list_fine_tuning_jobs",
    summary="List trainings",
    description=(
        "The newest first. `metadata[key]=value`, as often as needed, keeps the jobs with these pairs; "
        "`metadata=null` those without any."
    ),
    response_model=None,
    responses=replies(JobList, {"object": "list", "data": [EXAMPLE], "has_more": False}, COMMON),
)
def list_(
    request: Request, context: ServicesDep, principal: Principal, after: str | None = None, limit: int = 20
) -> Response:
    pairs, without = metadata_filter(request)
    page = context.jobs.list(principal, after=after, limit=limit, metadata=pairs, without_metadata=without)
    return JsonReply(JobList("list", [job_object(job) for job in page.items], page.has_more))


@router.get(
    "/{job_id}",
    operation_id="retrieve_fine_tuning_job",
    summary="Look at a training",
    response_model=None,
    responses=replies(JobObject, EXAMPLE, FOUND),
)
def retrieve(context: ServicesDep, principal: Principal, job_id: str) -> Response:
    """Status, progress and settings of one training; at its end the version that came of it, or what went wrong."""
    return JsonReply(job_object(context.jobs.get(job_id, principal)))


@router.post(
    "/{job_id}/cancel",
    operation_id="cancel_fine_tuning_job",
    summary="Cancel a training",
    description="Nothing is published. Again is no error; after the job's end it is one (`invalid_job_state`).",
    response_model=None,
    responses=replies(JobObject, EXAMPLE | {"status": "cancelled", "phase": "ended"}, FOUND),
)
def cancel(context: ServicesDep, principal: Principal, job_id: str) -> Response:
    return JsonReply(job_object(context.jobs.cancel(job_id, principal)))


@router.post(
    "/{job_id}/pause",
    operation_id="pause_fine_tuning_job",
    summary="Pause a training",
    description="A queued or running job rests where it stands, until it is resumed.",
    response_model=None,
    responses=replies(JobObject, EXAMPLE | {"status": "paused"}, FOUND),
)
def pause(context: ServicesDep, principal: Principal, job_id: str) -> Response:
    return JsonReply(job_object(context.jobs.pause(job_id, principal)))


@router.post(
    "/{job_id}/resume",
    operation_id="resume_fine_tuning_job",
    summary="Resume a paused training",
    response_model=None,
    responses=replies(JobObject, EXAMPLE, FOUND),
)
def resume(context: ServicesDep, principal: Principal, job_id: str) -> Response:
    """A paused training goes on from where it stopped, to the same weights as without the pause."""
    return JsonReply(job_object(context.jobs.resume(job_id, principal)))


@router.get(
    "/{job_id}/events",
    operation_id="list_fine_tuning_events",
    summary="Read a training's log",
    description="The newest first: messages, and the figures of the steps (`type` metrics).",
    response_model=None,
    responses=replies(EventList, {"object": "list", "data": [_EVENT], "has_more": True}, FOUND),
)
def events(
    context: ServicesDep, principal: Principal, job_id: str, after: str | None = None, limit: int = 20
) -> Response:
    page = context.jobs.events(job_id, principal, after=after, limit=limit)
    return JsonReply(EventList("list", [event_object(event) for event in page.items], page.has_more))


@router.get(
    "/{job_id}/checkpoints",
    operation_id="list_fine_tuning_checkpoints",
    summary="List a training's checkpoints",
    description="The latest first. Each can be used as a model while it is kept.",
    response_model=None,
    responses=replies(CheckpointList, {"object": "list", "data": [_CHECKPOINT], "has_more": False}, FOUND),
)
def checkpoints(
    context: ServicesDep, principal: Principal, job_id: str, after: str | None = None, limit: int = 10
) -> Response:
    page = context.jobs.checkpoints(job_id, principal, after=after, limit=limit)
    data = [checkpoint_object(item) for item in page.items]
    ends = (data[0].id, data[-1].id) if data else (None, None)
    return JsonReply(CheckpointList("list", data, page.has_more, *ends))


def metadata_filter(request: Request) -> tuple[dict[str, str], bool]:
    """The pairs that `metadata[key]=value` asks for, and whether `metadata=null` asks for jobs without any."""
    pairs: dict[str, str] = {}
    without = False
    for name, value in request.query_params.multi_items():
        if match := METADATA.fullmatch(name):
            pairs[match[1]] = value
        elif name == "metadata":
            if value != "null":
                raise InvalidRequest("write metadata[key]=value, or metadata=null", param="metadata")
            without = True
    return pairs, without
