"""`/v1/evaluations`: jobs that evaluate versions on files."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Header, Request
from starlette.responses import Response

from app.api.http.auth import Principal
from app.api.http.bodies import JsonBody
from app.api.http.job_objects import EventList, EventObject
from app.api.http.job_stream import STREAMED, Followed, Points, list_or_follow
from app.api.http.replies import JsonReply
from app.api.http.services import ServicesDep
from app.api.native.evaluation_objects import EXAMPLE, EvaluationList, EvaluationObject, evaluation_object
from app.api.openapi.describe import COMMON, LOOKUP, Noted, bound, reads, replies
from app.api.openapi.parameters import EVALUATION_EVENT, EVALUATION_ID, FILE_ID, MODEL, OTHER, REFERENCE
from app.jobs.evaluation_request import EvaluationRequest
from app.jobs.limits import FILE_ID as FILE_PATTERN

router = APIRouter(prefix="/v1/evaluations", tags=["evaluations"])
_body = JsonBody(EvaluationRequest)
_A_MODEL = {"minLength": 1, "maxLength": 128, "pattern": f"^{REFERENCE}$"}
bound(EvaluationRequest, model=_A_MODEL, against=_A_MODEL, file={"pattern": f"^{FILE_PATTERN.pattern}$"})

_STREAM = (
    f'id: {EVALUATION_EVENT["id"]}\ndata: {{"id":"{EVALUATION_EVENT["id"]}",…}}\n\n'
    f'event: job\ndata: {{"id":"{EVALUATION_ID}","object":"evaluation",…}}\n\ndata: [DONE]\n\n'
)
_FILE_FIRST = "replace file with the id of a file from POST /v1/files or GET /v1/files"


async def evaluation_request(request: Request) -> EvaluationRequest:
    """A dependency that reads the request body."""
    return await _body.read(request)


@router.post(
    "",
    operation_id="create_evaluation",
    summary="Evaluate a version on a file",
    description=(
        "Queues a job that measures a version on a file: all metrics, the confusion matrix, and the worst mistakes "
        "with their texts and probabilities. With `against`, a second version is measured on the same rows, and the "
        "report has a paired test. If the file assigns its rows to splits, only the test rows are used or, if there "
        "are none, the validation rows. The result is kept with the version. `Idempotency-Key` works as for training "
        "jobs."
    ),
    response_model=None,
    openapi_extra=reads(
        EvaluationRequest,
        one=Noted({"model": MODEL, "file": FILE_ID}, f"One version; {_FILE_FIRST}"),
        two=Noted({"model": MODEL, "file": FILE_ID, "against": OTHER}, f"Two versions; {_FILE_FIRST}"),
    ),
    responses=replies(EvaluationObject, EXAMPLE, LOOKUP),
)
def create(
    services: ServicesDep,
    principal: Principal,
    body: Annotated[EvaluationRequest, Depends(evaluation_request)],
    idempotency_key: Annotated[str | None, Header()] = None,
) -> Response:
    return JsonReply(evaluation_object(services.evaluations.create(body, principal, idempotency_key)))


@router.get(
    "",
    operation_id="list_evaluations",
    summary="List evaluations",
    description="Returns the newest evaluation first.",
    response_model=None,
    responses=replies(EvaluationList, {"object": "list", "data": [EXAMPLE], "has_more": False}, COMMON),
)
def list_(services: ServicesDep, principal: Principal, after: str | None = None, limit: int = 20) -> Response:
    page = services.evaluations.jobs.list(principal, after=after, limit=limit)
    return JsonReply(EvaluationList("list", [evaluation_object(job) for job in page.items], page.has_more))


@router.get(
    "/{evaluation_id}",
    operation_id="retrieve_evaluation",
    summary="Retrieve an evaluation",
    description="Returns the status of an evaluation, and its report or the error that ended it.",
    response_model=None,
    responses=replies(EvaluationObject, EXAMPLE, LOOKUP),
)
def retrieve(services: ServicesDep, principal: Principal, evaluation_id: str) -> Response:
    return JsonReply(evaluation_object(services.evaluations.jobs.get(evaluation_id, principal)))


@router.post(
    "/{evaluation_id}/cancel",
    operation_id="cancel_evaluation",
    summary="Cancel an evaluation",
    description="Ends an evaluation without a report. If it has already ended, the request fails with "
    "`invalid_job_state`.",
    response_model=None,
    responses=replies(EvaluationObject, EXAMPLE | {"status": "cancelled", "phase": "ended"}, LOOKUP),
)
def cancel(services: ServicesDep, principal: Principal, evaluation_id: str) -> Response:
    return JsonReply(evaluation_object(services.evaluations.jobs.cancel(evaluation_id, principal)))


@router.post(
    "/{evaluation_id}/pause",
    operation_id="pause_evaluation",
    summary="Pause an evaluation",
    description="Stops a queued or running evaluation until it is resumed.",
    response_model=None,
    responses=replies(EvaluationObject, EXAMPLE | {"status": "paused"}, LOOKUP),
)
def pause(services: ServicesDep, principal: Principal, evaluation_id: str) -> Response:
    return JsonReply(evaluation_object(services.evaluations.jobs.pause(evaluation_id, principal)))


@router.post(
    "/{evaluation_id}/resume",
    operation_id="resume_evaluation",
    summary="Resume an evaluation",
    description="Starts a paused evaluation again, from its beginning.",
    response_model=None,
    responses=replies(EvaluationObject, EXAMPLE, LOOKUP),
)
def resume(services: ServicesDep, principal: Principal, evaluation_id: str) -> Response:
    return JsonReply(evaluation_object(services.evaluations.jobs.resume(evaluation_id, principal)))


@router.get(
    "/{evaluation_id}/events",
    operation_id="list_evaluation_events",
    summary="List the events of an evaluation",
    description=f"Returns the newest event first. {STREAMED}",
    response_model=None,
    responses=replies(
        EventList,
        {"object": "list", "data": [EVALUATION_EVENT], "has_more": True},
        LOOKUP,
        stream=_STREAM,
        event=EventObject,
    ),
)
async def events(
    request: Request,
    services: ServicesDep,
    principal: Principal,
    evaluation_id: str,
    after: str | None = None,
    limit: int = 20,
    stream: bool = False,
    points: Points | None = None,
) -> Response:
    followed = Followed(services.evaluations.jobs, evaluation_id, principal, evaluation_object, points)
    return await list_or_follow(request, services, followed, after=after, limit=limit, stream=stream)
