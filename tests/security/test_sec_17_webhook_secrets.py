"""SEC-17: the secret of a webhook endpoint is in a single reply, in no log, and is never sent to the endpoint."""

from __future__ import annotations

import logging

import msgspec
import pytest

from app.settings import Settings
from app.webhooks.events import EVENT_TYPES
from tests.serving import Api
from tests.webhooks.receiver import LOOPBACK, Receiver

ENDPOINTS = "/v1/webhook_endpoints"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return msgspec.structs.replace(settings, webhook_networks=LOOPBACK)


def test_a_secret_is_shown_once(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    with Receiver([500]) as receiver, api.client() as client, caplog.at_level(logging.DEBUG):
        body = {"name": "mine", "url": receiver.url, "event_types": [EVENT_TYPES[0]]}
        created = client.post(ENDPOINTS, json=body)
        path = f"{ENDPOINTS}/{created.json()['id']}"
        rotated = client.post(f"{path}/rotate_secret", json={"keep_old_secret_active_for_24_hours": True})
        replies = [
            client.get(ENDPOINTS),
            client.get(path),
            client.post(path, json={"name": "other"}),
            client.post(path, json={"name": ""}),
            client.post(f"{path}/test", json={"event_type": EVENT_TYPES[0]}),
            client.get("/v1/audit"),
            client.get("/metrics"),
        ]
        secrets = [reply.json()["signing_secret"] for reply in (created, rotated)]
        record = repr(api.services.webhooks.get(created.json()["id"], "local"))
    assert replies[0].json()["data"][0]["signing_secret_hint"] == rotated.json()["signing_secret_hint"]
    [request] = receiver.received
    texts = [record, caplog.text, str(request.headers), request.body.decode(), *(reply.text for reply in replies)]
    for secret in secrets:
        assert len(secret) == 50 and secret[6:26] not in "".join(texts)
    assert created.headers["cache-control"] == rotated.headers["cache-control"] == "no-store"
