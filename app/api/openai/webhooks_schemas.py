"""The JSON objects of webhook endpoints, in OpenAI's format."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from app.api.openapi.describe import bound
from app.webhooks.addresses import URL, URL_LIMIT
from app.webhooks.events import EVENT_TYPES
from app.webhooks.records import WebhookEndpoint
from app.webhooks.service import NAME, NAME_LIMIT

A_NAME = {"minLength": 1, "maxLength": NAME_LIMIT, "pattern": f"^{NAME.pattern}$"}
A_URL = {"maxLength": URL_LIMIT, "pattern": f"^{URL.pattern}$"}
A_TYPE = {"enum": list(EVENT_TYPES)}
TYPES = {"minItems": 1, "items": {"type": "string", **A_TYPE}}


class CreateEndpointRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A new webhook endpoint. Events of the types in `event_types` are sent to `url`."""

    name: str
    url: str
    event_types: list[str]


class UpdateEndpointRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Changes to a webhook endpoint. Fields that are not sent keep their values; `event_types` replaces all types."""

    name: str | None = None
    url: str | None = None
    event_types: list[str] | None = None


class RotateSecretRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whether requests are also signed with the previous secret, for 24 hours."""

    keep_old_secret_active_for_24_hours: bool = False


class TestEndpointRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The type of the test event."""

    event_type: str


class EndpointObject(msgspec.Struct, frozen=True, kw_only=True):
    """A webhook endpoint. `owner` is the name of its API key, and `signing_secret_hint` shows the last characters of
    its secret.

    `waiting_deliveries` and `failed_deliveries` count the events of the last seven days that are waiting to be sent,
    and those whose delivery has failed permanently. `last_error` is the reason for the latest failure, or null.
    """

    id: str
    object: Literal["webhook_endpoint"] = "webhook_endpoint"
    owner: str
    created_at: int
    updated_at: int
    name: str
    url: str
    event_types: list[str]
    signing_secret_hint: str
    waiting_deliveries: int
    failed_deliveries: int
    last_error: str | None


class EndpointWithSecret(EndpointObject, frozen=True, kw_only=True):
    """A webhook endpoint with its new `signing_secret`, which is returned only once."""

    signing_secret: str


class EndpointList(msgspec.Struct, frozen=True):
    """A page of webhook endpoints."""

    object: str
    data: list[EndpointObject]
    has_more: bool
    first_id: str | None
    last_id: str | None


class EndpointDeleted(msgspec.Struct, frozen=True):
    """A deleted webhook endpoint."""

    id: str
    deleted: bool
    object: Literal["webhook_endpoint.deleted"] = "webhook_endpoint.deleted"


class EndpointTest(msgspec.Struct, frozen=True):
    """The reply of an endpoint to a test event. `success` only means that the endpoint sent a reply."""

    webhook_endpoint_id: str
    event_type: str
    status_code: int
    success: Literal[True] = True
    object: Literal["webhook_endpoint.test"] = "webhook_endpoint.test"


class EventTypeList(msgspec.Struct, frozen=True):
    """The event types that webhook endpoints can select."""

    data: list[str]
    object: str = "list"


bound(CreateEndpointRequest, name=A_NAME, url=A_URL, event_types=TYPES)
bound(UpdateEndpointRequest, name=A_NAME, url=A_URL, event_types=TYPES)
bound(TestEndpointRequest, event_type=A_TYPE)


def endpoint_object(endpoint: WebhookEndpoint) -> EndpointObject:
    return EndpointObject(**_fields(endpoint))


def endpoint_with_secret(endpoint: WebhookEndpoint) -> EndpointWithSecret:
    return EndpointWithSecret(**_fields(endpoint), signing_secret=endpoint.secret)


def _fields(endpoint: WebhookEndpoint) -> dict[str, Any]:
    return {
        "id": endpoint.id,
        "owner": endpoint.owner,
        "created_at": int(endpoint.created_at),
        "updated_at": int(endpoint.updated_at),
        "name": endpoint.name,
        "url": endpoint.url,
        "event_types": list(endpoint.event_types),
        "signing_secret_hint": endpoint.hint,
        "waiting_deliveries": endpoint.waiting,
        "failed_deliveries": endpoint.failed,
        "last_error": endpoint.error,
    }
