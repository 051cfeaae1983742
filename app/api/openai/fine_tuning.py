"""`/v1/fine_tuning/jobs`: training jobs, in OpenAI's format."""

from __future__ import annotations

import re
from typing import Annotated, Any, cast

from fastapi import APIRouter, Depends, Header, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from app.api.http.auth import Principal
from app.api.http.bodies import JsonBody
from app.api.http.caller import time_limit
from app.api.http.neutral_fields import SENT_NAMES
from app.api.http.presence import attended
from app.api.http.replies import JsonReply
from app.api.http.services import ServicesDep
from app.api.openai.estimate_streams import LEFT, STREAM, estimate, stream_estimate
from app.api.openai.fine_tuning_estimates import ESTIMATE, JobEstimate, estimate_object
from app.api.openai.fine_tuning_objects import (
    JobList,
    JobObject,
    job_object,
)
from app.api.openai.fine_tuning_schemas import write_bounds
from app.api.openai.job_requests import RetryCount
from app.api.openapi.describe import COMMON, LOOKUP, Noted, reads, replies
from app.api.openapi.parameters import FILE_ID, JOB_ID
from app.errors import InvalidRequest
from app.jobs.parsing import parse, sent_names
from app.jobs.request import JobRequest
from app.wording import listed
from models.choices import ARCHITECTURES

router = APIRouter(prefix="/v1/fine_tuning/jobs", tags=["training"])
write_bounds()

METADATA = re.compile(r"metadata\[(.*)\]", re.DOTALL)
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
    "jobs_before": 0,
    "parent_id": None,
    "trials": [],
    "reason": None,
}
_FILE_FIRST = "replace training_file with the id of a file from POST /v1/files or GET /v1/files"


async def job_request(request: Request) -> JobRequest:
    """A dependency that reads and validates the request body."""
    body = await _body.read(request)
    parsed = parse(body)
    request.scope[SENT_NAMES] = sent_names(body)  # for errors that are found after parsing
    return parsed


@router.post(
    "",
    operation_id="create_fine_tuning_job",
    summary="Create a training job",
    description=(
        f"Queues a training job. `model` is an architecture to train from scratch ({listed(ARCHITECTURES)}), a model "
        "reference to fine-tune, or `auto`, which trains several architectures as `trials` and publishes the one with "
        "the best results on the validation data. If several are equally good, the smallest is published. Only `model` "
        "and `training_file` are required. A repeated request with the same `Idempotency-Key` returns the job that the "
        "first request created.\n\nWith `dry_run=true`, no job is created. The reply contains the data report and, for "
        "each training run, its plan, memory and duration. The duration is estimated from a few steps on the machine "
        "of the API. If the job would fail because of its data or its settings, the dry run fails with the same error. "
        "Only one dry run can run at a time. With `stream=true`, the reply of a dry run consists of two server-sent "
        "events: `data` has the data report and no plans, and is sent as soon as the data has been read; `estimate` "
        "has the whole reply."
    ),
    response_model=None,
    openapi_extra=reads(
        JobRequest,
        least=Noted({"model": "lstm", "training_file": FILE_ID}, f"Required fields only; {_FILE_FIRST}"),
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
            f"With options; {_FILE_FIRST}",
        ),
    ),
    responses=replies(
        JobObject, EXAMPLE, (*LOOKUP, 504), other=(JobEstimate, ESTIMATE), stream=STREAM, event=JobEstimate
    ),
)
async def create(
    request: Request,
    services: ServicesDep,
    principal: Principal,
    body: Annotated[JobRequest, Depends(job_request)],
    retries: RetryCount,
    dry_run: bool = False,
    stream: bool = False,
    idempotency_key: Annotated[str | None, Header()] = None,
) -> Response:
    if dry_run:
        if stream:
            return await stream_estimate(request, services, body, principal)
        return JsonReply(
            estimate_object(
                body, await attended(request, estimate(services, body, principal, time_limit(request)), LEFT)
            )
        )
    job = await run_in_threadpool(services.jobs.create, body, principal, idempotency_key, retries)
    return JsonReply(job_object(job))


@router.get(
    "",
    operation_id="list_fine_tuning_jobs",
    summary="List training jobs",
    description=(
        "Returns the newest job first. `metadata[key]=value` selects the jobs with this pair; to require several "
        "pairs, repeat the parameter. `metadata=null` selects the jobs without metadata. The trials of `auto` jobs are "
        "left out unless `trials=true`."
    ),
    response_model=None,
    responses=replies(JobList, {"object": "list", "data": [EXAMPLE], "has_more": False}, COMMON),
)
def list_(
    request: Request,
    services: ServicesDep,
    principal: Principal,
    after: str | None = None,
    limit: int = 20,
    trials: bool = False,
) -> Response:
    pairs, without = metadata_filter(request)
    page = services.jobs.list(
        principal, after=after, limit=limit, metadata=pairs, without_metadata=without, with_trials=trials
    )
    return JsonReply(JobList("list", [job_object(job) for job in page.items], page.has_more))


@router.get(
    "/{job_id}",
    operation_id="retrieve_fine_tuning_job",
    summary="Retrieve a training job",
    response_model=None,
    responses=replies(JobObject, EXAMPLE, LOOKUP),
)
def retrieve(services: ServicesDep, principal: Principal, job_id: str) -> Response:
    """Returns a job's status, progress and settings, and its published version or the error that ended it."""
    return JsonReply(job_object(services.jobs.get(job_id, principal)))


@router.post(
    "/{job_id}/cancel",
    operation_id="cancel_fine_tuning_job",
    summary="Cancel a training job",
    description=(
        "Ends a job without publishing a version. Until the job has ended, a repeated request has no effect; "
        "afterwards, it fails with `invalid_job_state`."
    ),
    response_model=None,
    responses=replies(JobObject, EXAMPLE | {"status": "cancelled", "phase": "ended"}, LOOKUP),
)
def cancel(services: ServicesDep, principal: Principal, job_id: str) -> Response:
    return JsonReply(job_object(services.jobs.cancel(job_id, principal)))


@router.post(
    "/{job_id}/pause",
    operation_id="pause_fine_tuning_job",
    summary="Pause a training job",
    description="Stops a queued job, or a running job at its current step, until it is resumed.",
    response_model=None,
    responses=replies(JobObject, EXAMPLE | {"status": "paused"}, LOOKUP),
)
def pause(services: ServicesDep, principal: Principal, job_id: str) -> Response:
    return JsonReply(job_object(services.jobs.pause(job_id, principal)))


@router.post(
    "/{job_id}/resume",
    operation_id="resume_fine_tuning_job",
    summary="Resume a training job",
    response_model=None,
    responses=replies(JobObject, EXAMPLE, LOOKUP),
)
def resume(services: ServicesDep, principal: Principal, job_id: str) -> Response:
    """Resumes a paused job at the step where it stopped. The pause does not affect the resulting weights."""
    return JsonReply(job_object(services.jobs.resume(job_id, principal)))


def metadata_filter(request: Request) -> tuple[dict[str, str], bool]:
    """Return the `metadata[key]=value` pairs, and whether `metadata=null` is set. Raises InvalidRequest."""
    pairs: dict[str, str] = {}
    without = False
    for name, value in request.query_params.multi_items():
        if match := METADATA.fullmatch(name):
            pairs[match[1]] = value
        elif name == "metadata":
            if value != "null":
                raise InvalidRequest("metadata must be metadata[key]=value or metadata=null", param="metadata")
            without = True
    return pairs, without
