"""`/v1/batches`: files of requests that are answered in the background, in OpenAI's format."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Header, Request
from starlette.responses import Response

from app.api.http.auth import Principal
from app.api.http.bodies import JsonBody
from app.api.http.replies import JsonReply
from app.api.http.services import ServicesDep
from app.api.openai.batch_objects import EXAMPLE, BatchList, BatchObject, batch_object
from app.api.openai.job_requests import METADATA, RetryCount
from app.api.openapi.describe import COMMON, LOOKUP, Noted, bound, reads, replies
from app.api.openapi.parameters import FILE_ID
from app.files.service import LEAST_EXPIRY, MOST_EXPIRY
from app.jobs.batch_request import NewBatch, OutputExpiry
from app.jobs.limits import FILE_ID as FILE_PATTERN
from app.wire.batch import ENDPOINTS, MOST_REQUESTS, WINDOW
from app.wording import listed

router = APIRouter(prefix="/v1/batches", tags=["batches"])
_body = JsonBody(NewBatch)
bound(
    NewBatch,
    input_file_id={"pattern": f"^{FILE_PATTERN.pattern}$"},
    endpoint={"enum": list(ENDPOINTS)},
    completion_window={"enum": [WINDOW]},
    metadata=METADATA,
)
bound(OutputExpiry, anchor={"enum": ["created_at"]}, seconds={"minimum": LEAST_EXPIRY, "maximum": MOST_EXPIRY})
_FILE_FIRST = "replace input_file_id with the id of a file with the purpose batch, from POST /v1/files"
_NEW = {"input_file_id": FILE_ID, "endpoint": ENDPOINTS[2], "completion_window": WINDOW}


async def new_batch(request: Request) -> NewBatch:
    """A dependency that reads the request body."""
    return await _body.read(request)


@router.post(
    "",
    operation_id="create_batch",
    summary="Answer a file of requests",
    description=(
        f"Queues a batch. Each line of the file is a JSON object with a `custom_id` of your choice, `method` (POST), "
        f"`url` (the endpoint) and `body`, the body of the request. A file can have at most {MOST_REQUESTS:,} lines "
        f"and 200 MiB. The endpoints are {listed(ENDPOINTS)}. Every request is answered exactly as the endpoint would "
        "answer it, but replies cannot be streamed. Requests that are not answered within 24 hours expire. "
        "`Idempotency-Key` works as for training jobs."
    ),
    response_model=None,
    openapi_extra=reads(
        NewBatch,
        least=Noted(_NEW, f"Required fields only; {_FILE_FIRST}"),
        more=Noted(
            _NEW
            | {"metadata": {"team": "support"}, "output_expires_after": {"anchor": "created_at", "seconds": 86400}},
            f"With result files that expire; {_FILE_FIRST}",
        ),
    ),
    responses=replies(BatchObject, EXAMPLE, LOOKUP),
)
def create(
    services: ServicesDep,
    principal: Principal,
    body: Annotated[NewBatch, Depends(new_batch)],
    retries: RetryCount,
    idempotency_key: Annotated[str | None, Header()] = None,
) -> Response:
    return JsonReply(batch_object(services.batches.create(body, principal, idempotency_key, retries)))


@router.get(
    "",
    operation_id="list_batches",
    summary="List batches",
    description="Returns the newest batch first.",
    response_model=None,
    responses=replies(BatchList, {"object": "list", "data": [EXAMPLE], "has_more": False}, COMMON),
)
def list_(services: ServicesDep, principal: Principal, after: str | None = None, limit: int = 20) -> Response:
    page = services.batches.jobs.list(principal, after=after, limit=limit)
    data = [batch_object(job) for job in page.items]
    ends = (data[0].id, data[-1].id) if data else (None, None)
    return JsonReply(BatchList("list", data, page.has_more, *ends))


@router.get(
    "/{batch_id}",
    operation_id="retrieve_batch",
    summary="Retrieve a batch",
    description="Returns the status of a batch, its request counts, and the ids of its result files.",
    response_model=None,
    responses=replies(BatchObject, EXAMPLE, LOOKUP),
)
def retrieve(services: ServicesDep, principal: Principal, batch_id: str) -> Response:
    return JsonReply(batch_object(services.batches.jobs.get(batch_id, principal)))


@router.post(
    "/{batch_id}/cancel",
    operation_id="cancel_batch",
    summary="Cancel a batch",
    description="Ends a batch. The answers so far are kept in its result files. Requests without an answer are listed "
    "in the error file with the code `batch_cancelled`. If the batch has already ended, the call fails with "
    "`invalid_job_state`.",
    response_model=None,
    responses=replies(BatchObject, EXAMPLE | {"status": "cancelling", "cancelling_at": 1745383070}, LOOKUP),
)
def cancel(services: ServicesDep, principal: Principal, batch_id: str) -> Response:
    return JsonReply(batch_object(services.batches.jobs.cancel(batch_id, principal)))
