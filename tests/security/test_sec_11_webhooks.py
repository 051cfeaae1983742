"""SEC-11: a key sees, changes and tests only its own webhook endpoints, and changes to them are in the audit log."""

from __future__ import annotations

import msgspec
import pytest

from app.settings import Settings
from app.webhooks.events import EVENT_TYPES
from tests.security.attacks import code
from tests.serving import Api, wait_until
from tests.webhooks.receiver import LOOPBACK, Receiver

ENDPOINTS = "/v1/webhook_endpoints"
SECRETS = {"ann": "secret-of-ann", "bob": "secret-of-bob", "ops": "secret-of-ops", "infer": "secret-of-infer"}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    keys = ",".join(f"{name}:{secret}" for name, secret in SECRETS.items())
    scopes = "ann:train,bob:train,ops:operator,infer:infer+registry"
    return msgspec.structs.replace(settings, api_keys=keys, key_scopes=scopes, webhook_networks=LOOPBACK)


def test_endpoints_belong_to_their_key(api: Api) -> None:
    ann, bob, ops, infer = (api.client(SECRETS[name]) for name in ("ann", "bob", "ops", "infer"))
    with Receiver() as receiver, ann, bob, ops, infer:
        body = {"name": "mine", "url": receiver.url, "event_types": [EVENT_TYPES[0]]}
        created = ann.post(ENDPOINTS, json=body).json()
        path = f"{ENDPOINTS}/{created['id']}"
        attempts = [("GET", "", None), ("POST", "", {"url": "https://bob.example"}), ("DELETE", "", None),
                    ("POST", "/rotate_secret", {}), ("POST", "/test", {"event_type": EVENT_TYPES[0]})]  # fmt: skip
        for method, rest, content in attempts:
            for client in (bob, ops):
                reply = client.request(method, path + rest, json=content)
                assert (reply.status_code, code(reply)) == (404, "webhook_endpoint_not_found")
            assert code(infer.request(method, path + rest, json=content)) == "missing_scope"
        assert bob.get(ENDPOINTS).json()["data"] == []
        assert code(bob.get(ENDPOINTS, params={"after": created["id"]})) == "webhook_endpoint_not_found"
        assert code(infer.post(ENDPOINTS, json=body)) == "missing_scope"
        assert receiver.received == []
        assert ann.get(path).json()["url"] == receiver.url
        ann.post(path, json={"name": "other"})
        ann.post(f"{path}/rotate_secret")
        ann.post(f"{path}/test", json={"event_type": EVENT_TYPES[0]})
        assert len(receiver.received) == 1
        ann.delete(path)
        wait_until(lambda: len(ops.get("/v1/audit").json()["data"]) == 5)
        entries = ops.get("/v1/audit", params={"order": "asc"}).json()["data"]
    assert [(entry["principal"], entry["method"], entry["path"]) for entry in entries] == [
        ("ann", "POST", ENDPOINTS),
        ("ann", "POST", path),
        ("ann", "POST", f"{path}/rotate_secret"),
        ("ann", "POST", f"{path}/test"),
        ("ann", "DELETE", path),
    ]
    assert [entry["subject"] for entry in entries] == [created["id"]] * 3 + ["", created["id"]]
