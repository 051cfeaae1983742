"""`ostinato webhooks`: create, list, test and delete endpoints, and replace secrets."""

from __future__ import annotations

import json

from tests.cli.conftest import Run
from tests.cli.service import Service

ENDPOINT = {
    "id": "whe-1",
    "owner": "ann",
    "name": "mine",
    "url": "https://example.com/x",
    "waiting_deliveries": 2,
    "failed_deliveries": 1,
    "last_error": "the endpoint answered 500",
    "created_at": 0,
}


def test_endpoints_are_created_listed_tested_and_deleted(service: Service, ostinato: Run) -> None:
    path = "/v1/webhook_endpoints"
    service.routes |= {
        "GET /v1/webhook_event_types": (200, {"data": ["batch.completed", "batch.failed"]}),
        f"POST {path}": (200, ENDPOINT | {"signing_secret": "whsec_1"}),
        f"GET {path}": (200, {"data": [ENDPOINT], "has_more": False}),
        f"POST {path}/whe-1/rotate_secret": (200, ENDPOINT | {"signing_secret": "whsec_2"}),
        f"POST {path}/whe-1/test": (200, {"status_code": 204}),
        f"DELETE {path}/whe-1": (200, {"id": "whe-1", "deleted": True}),
    }
    created = ostinato("webhooks", "create", "https://example.com/x").out
    assert created == "whe-1 created; its secret is shown only now:\nwhsec_1\n"
    assert json.loads(service.requests[-1].body)["event_types"] == ["batch.completed", "batch.failed"]
    ostinato("webhooks", "create", "https://example.com/x", "--name", "a", "--event", "batch.failed")
    assert json.loads(service.requests[-1].body) == {
        "name": "a", "url": "https://example.com/x", "event_types": ["batch.failed"]
    }  # fmt: skip
    listed = ostinato("webhooks").out
    assert "https://example.com/x" in listed and listed.endswith("whe-1: the endpoint answered 500\n")
    assert json.loads(ostinato("webhooks", "--json", "list").out) == [ENDPOINT]
    assert "ann" not in listed and "ann" in ostinato("webhooks", "list", "--all-owners").out
    assert "all_owners=true" in service.requests[-1].query
    assert ostinato("webhooks", "rotate-secret", "whe-1", "--keep-old").out.endswith("\nwhsec_2\n")
    assert json.loads(service.requests[-1].body) == {"keep_old_secret_active_for_24_hours": True}
    assert ostinato("webhooks", "test", "whe-1").out == "whe-1 answered 204\n"
    assert ostinato("webhooks", "delete", "whe-1").out == "whe-1 is deleted\n"
