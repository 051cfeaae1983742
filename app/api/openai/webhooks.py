"""`/v1/webhook_endpoints`: the URLs that receive job and batch events, in OpenAI's format."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from app.api.http.auth import Principal, is_operator
from app.api.http.bodies import JsonBody
from app.api.http.replies import JsonReply
from app.api.http.scopes import MissingScope
from app.api.http.services import Services, ServicesDep
from app.api.openai.webhooks_schemas import (
    CreateEndpointRequest,
    EndpointDeleted,
    EndpointList,
    EndpointObject,
    EndpointTest,
    EndpointWithSecret,
    EventTypeList,
    RotateSecretRequest,
    TestEndpointRequest,
    UpdateEndpointRequest,
    endpoint_object,
    endpoint_with_secret,
)
from app.api.openapi.describe import COMMON, LOOKUP, reads, replies
from app.api.openapi.parameters import ENDPOINT_ID
from app.webhooks.events import EVENT_TYPES
from app.webhooks.service import Reach

router = APIRouter(tags=["webhooks"])
_create = JsonBody(CreateEndpointRequest)
_update = JsonBody(UpdateEndpointRequest)
_rotate = JsonBody(RotateSecretRequest)
_test = JsonBody(TestEndpointRequest)
SECRET_HEADERS = {"cache-control": "no-store"}

_ENDED = ["fine_tuning.job.succeeded", "fine_tuning.job.failed", "fine_tuning.job.cancelled"]
_REQUEST: dict[str, Any] = {"name": "my service", "url": "https://example.com/webhooks", "event_types": _ENDED}
_EXAMPLE: dict[str, Any] = {
    "id": ENDPOINT_ID,
    "object": "webhook_endpoint",
    "owner": "local",
    "created_at": 1745383065,
    "updated_at": 1745383065,
    **_REQUEST,
    "signing_secret_hint": "whsec_…9zQo",
    "waiting_deliveries": 0,
    "failed_deliveries": 0,
    "last_error": None,
}
_WITH_SECRET = _EXAMPLE | {"signing_secret": "whsec_… (shown only here)"}
_TESTED = {
    "webhook_endpoint_id": ENDPOINT_ID,
    "event_type": _ENDED[0],
    "status_code": 200,
    "success": True,
    "object": "webhook_endpoint.test",
}


async def creation(request: Request) -> CreateEndpointRequest:
    """A dependency that reads the body of a request to create an endpoint."""
    return await _create.read(request)


async def changes(request: Request) -> UpdateEndpointRequest:
    """A dependency that reads the body of a request to change an endpoint."""
    return await _update.read(request)


async def rotation(request: Request) -> RotateSecretRequest:
    """A dependency that reads the body of a request to rotate a secret. The body may be empty."""
    return await _rotate.read(request) if await request.body() else RotateSecretRequest()


@router.get(
    "/v1/webhook_endpoints",
    operation_id="list_webhook_endpoints",
    summary="List webhook endpoints",
    description=(
        "Returns the newest endpoint first, without secrets. With `all_owners`, a key with the scope operator also "
        "sees the endpoints of other keys. If `OSTINATO_KEY_SCOPES` is not set, `all_owners` adds only the endpoints "
        "of keys that no longer exist."
    ),
    response_model=None,
    responses=replies(
        EndpointList,
        {"object": "list", "data": [_EXAMPLE], "has_more": False, "first_id": ENDPOINT_ID, "last_id": ENDPOINT_ID},
        LOOKUP,
    ),
)
def list_endpoints(
    services: ServicesDep,
    request: Request,
    principal: Principal,
    after: str | None = None,
    limit: int = 20,
    all_owners: bool = False,
) -> Response:
    reach = _reach(request, services) if all_owners else Reach.OWN
    if all_owners and reach is Reach.OWN:
        raise MissingScope(
            "only a key with the operator scope may list the endpoints of other keys", param="all_owners"
        )
    page = services.webhooks.list(principal, after=after, limit=limit, reach=reach)
    data = [endpoint_object(endpoint) for endpoint in page.items]
    first, last = (data[0].id, data[-1].id) if data else (None, None)
    return JsonReply(EndpointList("list", data, page.has_more, first, last))


def _reach(request: Request, services: Services) -> Reach:
    """Return which endpoints of other keys the request may list and delete.

    If no scopes are configured, every key is an operator. To protect keys from each other, such an operator has access
    only to the endpoints of keys that no longer exist.
    """
    if not is_operator(request):
        return Reach.OWN
    return Reach.ALL if services.settings.key_scopes or not services.settings.keys else Reach.ORPHANED


@router.post(
    "/v1/webhook_endpoints",
    operation_id="create_webhook_endpoint",
    summary="Create a webhook endpoint",
    description=(
        "Events of your jobs and batches are sent to `url` as they occur. They are signed with `signing_secret`, which "
        "only this reply contains. The URL must begin with `https://` and resolve to a public address; to allow other "
        "addresses, set `OSTINATO_WEBHOOK_NETWORKS`. A key may have at most `OSTINATO_MAX_WEBHOOK_ENDPOINTS` endpoints."
    ),
    response_model=None,
    openapi_extra=reads(CreateEndpointRequest, jobs=_REQUEST),
    responses=replies(EndpointWithSecret, _WITH_SECRET, COMMON),
)
def create_endpoint(
    services: ServicesDep, principal: Principal, body: Annotated[CreateEndpointRequest, Depends(creation)]
) -> Response:
    endpoint = services.webhooks.create(principal, body.name, body.url, body.event_types)
    return JsonReply(endpoint_with_secret(endpoint), SECRET_HEADERS)


@router.get(
    "/v1/webhook_endpoints/{webhook_endpoint_id}",
    operation_id="retrieve_webhook_endpoint",
    summary="Retrieve a webhook endpoint",
    description="Returns the endpoint, with only a hint of its signing secret.",
    response_model=None,
    responses=replies(EndpointObject, _EXAMPLE, LOOKUP),
)
def retrieve_endpoint(services: ServicesDep, principal: Principal, webhook_endpoint_id: str) -> Response:
    return JsonReply(endpoint_object(services.webhooks.get(webhook_endpoint_id, principal)))


@router.post(
    "/v1/webhook_endpoints/{webhook_endpoint_id}",
    operation_id="update_webhook_endpoint",
    summary="Change a webhook endpoint",
    description="Changes the fields that are sent. If `url` changes, pending events are sent to the new URL.",
    response_model=None,
    openapi_extra=reads(UpdateEndpointRequest, name={"name": "my other service"}),
    responses=replies(EndpointObject, _EXAMPLE, LOOKUP),
)
def update_endpoint(
    services: ServicesDep,
    principal: Principal,
    webhook_endpoint_id: str,
    body: Annotated[UpdateEndpointRequest, Depends(changes)],
) -> Response:
    endpoint = services.webhooks.update(
        webhook_endpoint_id, principal, name=body.name, url=body.url, event_types=body.event_types
    )
    return JsonReply(endpoint_object(endpoint))


@router.delete(
    "/v1/webhook_endpoints/{webhook_endpoint_id}",
    operation_id="delete_webhook_endpoint",
    summary="Delete a webhook endpoint",
    description=(
        "Pending events of the endpoint are also deleted. An operator may delete the endpoints of other keys. If "
        "`OSTINATO_KEY_SCOPES` is not set, every key may delete the endpoints of keys that no longer exist."
    ),
    response_model=None,
    responses=replies(
        EndpointDeleted, {"id": ENDPOINT_ID, "deleted": True, "object": "webhook_endpoint.deleted"}, LOOKUP
    ),
)
def delete_endpoint(
    services: ServicesDep, request: Request, principal: Principal, webhook_endpoint_id: str
) -> Response:
    services.webhooks.delete(webhook_endpoint_id, principal, reach=_reach(request, services))
    return JsonReply(EndpointDeleted(webhook_endpoint_id, True))


_ROTATION = reads(RotateSecretRequest, gently={"keep_old_secret_active_for_24_hours": True})
_ROTATION["requestBody"]["required"] = False


@router.post(
    "/v1/webhook_endpoints/{webhook_endpoint_id}/rotate_secret",
    operation_id="rotate_webhook_secret",
    summary="Replace the secret of a webhook endpoint",
    description=(
        "Returns the endpoint with a new `signing_secret`, which only this reply contains. With "
        "`keep_old_secret_active_for_24_hours`, requests are signed with both secrets for a day, so that receivers can "
        "be changed without losing events."
    ),
    response_model=None,
    openapi_extra=_ROTATION,
    responses=replies(EndpointWithSecret, _WITH_SECRET, LOOKUP),
)
def rotate_secret(
    services: ServicesDep,
    principal: Principal,
    webhook_endpoint_id: str,
    body: Annotated[RotateSecretRequest, Depends(rotation)],
) -> Response:
    endpoint = services.webhooks.rotate_secret(
        webhook_endpoint_id, principal, keep_old=body.keep_old_secret_active_for_24_hours
    )
    return JsonReply(endpoint_with_secret(endpoint), SECRET_HEADERS)


@router.post(
    "/v1/webhook_endpoints/{webhook_endpoint_id}/test",
    operation_id="test_webhook_endpoint",
    summary="Send a test event to a webhook endpoint",
    description=(
        "Sends a signed event of the type `event_type` without retries, and returns the status of the reply. The id in "
        "the event is not the id of a job or batch. If there is no reply, the request fails with "
        "`webhook_not_answered`. A key may test one endpoint at a time."
    ),
    response_model=None,
    openapi_extra=reads(TestEndpointRequest, succeeded={"event_type": _ENDED[0]}),
    responses=replies(EndpointTest, _TESTED, LOOKUP),
)
async def test_endpoint(
    request: Request, services: ServicesDep, principal: Principal, webhook_endpoint_id: str
) -> Response:
    body = await _test.read(request)
    status = await services.webhooks.test(webhook_endpoint_id, principal, body.event_type)
    return JsonReply(EndpointTest(webhook_endpoint_id, body.event_type, status))


@router.get(
    "/v1/webhook_event_types",
    operation_id="list_webhook_event_types",
    summary="List the event types",
    response_model=None,
    responses=replies(EventTypeList, {"data": list(EVENT_TYPES), "object": "list"}, COMMON),
)
async def list_event_types() -> Response:
    """Returns the types that webhook endpoints can select."""
    return JsonReply(EventTypeList(list(EVENT_TYPES)))
