"""Webhook endpoints through the `openai` package, with a real receiver."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import msgspec
import openai
import pytest

from app.settings import Settings
from app.webhooks import outbox
from app.webhooks.events import EVENT_TYPES
from tests.serving import Api
from tests.webhooks.receiver import LOOPBACK, Receiver

URL = "https://example.com/webhooks"
SUCCEEDED, FAILED = EVENT_TYPES[:2]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return msgspec.structs.replace(settings, webhook_networks=LOOPBACK, max_webhook_endpoints=3, webhook_timeout=20.0)


@pytest.fixture
def client(api: Api) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{api.url}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture
def http(api: Api) -> Iterator[httpx.Client]:
    with api.client() as client:
        yield client


def create(client: openai.OpenAI, **fields: Any) -> Any:
    return client.webhooks.create(**({"name": "receiver", "url": URL, "event_types": [SUCCEEDED]} | fields))


def refusal(client: openai.OpenAI, **fields: Any) -> tuple[Any, Any, str]:
    """Send an invalid request to create an endpoint. Returns the `param`, the code and the message of the error."""
    with pytest.raises(openai.BadRequestError) as caught:
        create(client, **fields)
    return caught.value.param, caught.value.code, str(caught.value.body["message"])  # type: ignore[index]


def test_an_endpoint_is_created_changed_and_deleted(client: openai.OpenAI) -> None:
    created = create(client, event_types=[FAILED, SUCCEEDED, FAILED])
    assert created.id.startswith("whe-") and created.object == "webhook_endpoint"
    assert (created.name, created.url, created.event_types) == ("receiver", URL, [SUCCEEDED, FAILED])
    assert created.created_at == created.updated_at > 0
    assert created.signing_secret_hint == f"whsec_…{created.signing_secret.rstrip('=')[-4:]}"
    same = client.webhooks.update(created.id, name="receiver", url=URL)
    assert same.updated_at == created.updated_at
    changed = client.webhooks.update(created.id, name="other", url=f"{URL}?b=1", event_types=["batch.completed"])
    assert (changed.name, changed.url, changed.event_types) == ("other", f"{URL}?b=1", ["batch.completed"])
    assert client.webhooks.retrieve(created.id) == changed
    deleted = client.webhooks.delete(created.id)
    assert (deleted.id, deleted.deleted, deleted.object) == (created.id, True, "webhook_endpoint.deleted")
    for call in (client.webhooks.retrieve, client.webhooks.delete, client.webhooks.rotate_secret):
        with pytest.raises(openai.NotFoundError, match="there is no webhook endpoint"):
            call(created.id)


def test_lists_are_paged_from_the_newest_on(client: openai.OpenAI, http: httpx.Client) -> None:
    ids = [create(client, name=f"receiver {number}").id for number in range(3)]
    assert [endpoint.id for endpoint in client.webhooks.list(limit=2)] == ids[::-1]
    page = http.get("/v1/webhook_endpoints", params={"limit": 1, "after": ids[2]}).json()
    assert (page["first_id"], page["last_id"], page["has_more"]) == (ids[1], ids[1], True)
    assert "signing_secret" not in page["data"][0]
    for after in ("whe-unknown", "x"):
        with pytest.raises(openai.NotFoundError):
            client.webhooks.list(after=after)
    with pytest.raises(openai.BadRequestError):
        client.webhooks.list(limit=1001)


def test_the_number_of_endpoints_is_limited(client: openai.OpenAI) -> None:
    ids = [create(client).id for _ in range(3)]
    assert refusal(client)[1] == "too_many_webhook_endpoints"
    client.webhooks.delete(ids[0])
    create(client)


def test_event_types_are_listed(client: openai.OpenAI) -> None:
    types = client.webhooks.event_types.list()
    assert (types.object, types.data) == ("list", list(EVENT_TYPES))


BAD: list[tuple[dict[str, Any], str, str]] = [
    ({"event_types": []}, "event_types", "at least one"),
    ({"event_types": [SUCCEEDED, "batch.complete"]}, "event_types", "did you mean 'batch.completed'?"),
    ({"event_types": ["safety.alert.created"]}, "event_types", "is not an event type"),
    ({"url": "https://user@example.com"}, "url", "must look like https://example.com"),
    ({"url": "https://10.0.0.1/x"}, "url", "private"),
    ({"name": ""}, "name", "1 to 128 characters"),
    ({"name": "x" * 129}, "name", "1 to 128 characters"),
    ({"name": "a\x00b"}, "name", "control characters"),
    ({"name": "a\n"}, "name", "control characters"),
]


def test_bad_fields_are_named(client: openai.OpenAI) -> None:
    endpoint = create(client)
    for fields, param, message in BAD:
        error = refusal(client, **fields)
        assert error[0] == param and message in error[2]
        with pytest.raises(openai.BadRequestError) as caught:
            client.webhooks.update(endpoint.id, **fields)
        assert caught.value.param == param and message in str(caught.value)


def test_a_test_event_is_signed_and_its_status_returned(client: openai.OpenAI) -> None:
    with Receiver([200, 503]) as receiver:
        endpoint = create(client, url=receiver.url)
        for status in (200, 503):
            result = client.webhooks.test(endpoint.id, event_type="batch.failed")
            assert (result.status_code, result.success, result.object) == (status, True, "webhook_endpoint.test")
            assert (result.webhook_endpoint_id, result.event_type) == (endpoint.id, "batch.failed")
    for request in receiver.received:
        event: Any = client.webhooks.unwrap(request.body, request.headers, secret=endpoint.signing_secret)
        assert (event.type, event.data.id, event.object) == ("batch.failed", f"batch-{'0' * 24}", "event")
    with pytest.raises(openai.BadRequestError, match="the endpoint refused the connection") as caught:
        client.webhooks.test(endpoint.id, event_type=SUCCEEDED)
    assert caught.value.code == "webhook_not_answered"
    with pytest.raises(openai.BadRequestError, match="did you mean"):
        client.webhooks.test(endpoint.id, event_type="batch.fail")  # type: ignore[arg-type]


def test_a_rotated_secret_replaces_the_earlier_one_at_once_or_after_a_day(
    client: openai.OpenAI, http: httpx.Client
) -> None:
    with Receiver() as receiver:
        endpoint = create(client, url=receiver.url)
        kept = client.webhooks.rotate_secret(endpoint.id, keep_old_secret_active_for_24_hours=True)
        client.webhooks.test(endpoint.id, event_type=SUCCEEDED)
        replaced = http.post(f"/v1/webhook_endpoints/{endpoint.id}/rotate_secret")  # without a body
        client.webhooks.test(endpoint.id, event_type=SUCCEEDED)
    assert replaced.headers["cache-control"] == "no-store"
    secrets = [endpoint.signing_secret, kept.signing_secret, replaced.json()["signing_secret"]]
    assert len(set(secrets)) == 3 and kept.updated_at >= endpoint.updated_at
    first, second = receiver.received

    def verified(request: Any, secret: str) -> bool:
        try:
            client.webhooks.verify_signature(request.body, request.headers, secret=secret)
        except openai.InvalidWebhookSignatureError:
            return False
        return True

    assert [verified(first, secret) for secret in secrets] == [True, True, False]
    assert [verified(second, secret) for secret in secrets] == [False, False, True]


def test_an_endpoint_shows_its_deliveries(client: openai.OpenAI, api: Api, http: httpx.Client) -> None:
    endpoint = create(client, event_types=[SUCCEEDED, FAILED])
    database = api.services.database
    with database.transaction() as session:
        outbox.enqueue(session, "local", SUCCEEDED, "ftjob-1", 0.0)
        outbox.enqueue(session, "local", FAILED, "ftjob-2", 0.0)
        session.connection().exec_driver_sql(
            "UPDATE webhook_deliveries SET status = 'failed', error = 'the endpoint answered 500' "
            "WHERE subject = 'ftjob-2'"
        )
    shown = http.get(f"/v1/webhook_endpoints/{endpoint.id}").json()
    assert (shown["waiting_deliveries"], shown["failed_deliveries"]) == (1, 1)
    assert shown["last_error"] == "the endpoint answered 500"
    assert http.get("/v1/webhook_endpoints").json()["data"] == [shown]
