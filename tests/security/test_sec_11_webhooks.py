"""SEC-11: a key sees, changes and tests only its own webhook endpoints, and changes to them are in the audit log."""

from __future__ import annotations

import msgspec
import pytest

from app.settings import Settings
from app.webhooks.events import EVENT_TYPES
from tests.security.attacks import code
from tests.serving import Api, wait_until
from tests.webhooks.fixtures import add_endpoint
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
            for client in (bob,) if method == "DELETE" else (bob, ops):
                reply = client.request(method, path + rest, json=content)
                assert (reply.status_code, code(reply)) == (404, "webhook_endpoint_not_found")
            assert code(infer.request(method, path + rest, json=content)) == "missing_scope"
        assert [client.get(ENDPOINTS).json()["data"] for client in (bob, ops)] == [[], []]
        assert code(bob.get(ENDPOINTS, params={"all_owners": True})) == "missing_scope"
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


def test_an_operator_lists_and_deletes_the_endpoints_of_all_keys(api: Api) -> None:
    ids = {owner: add_endpoint(api.services.database, owner, created_at=at) for at, owner in enumerate(("ann", "gone"))}
    with api.client(SECRETS["ops"]) as ops, api.client(SECRETS["bob"]) as bob:
        every = ops.get(ENDPOINTS, params={"all_owners": True}).json()["data"]
        assert [(endpoint["id"], endpoint["owner"]) for endpoint in every] == [
            (ids["gone"], "gone"),
            (ids["ann"], "ann"),
        ]
        assert "whsec_" not in "".join(str(endpoint) for endpoint in every).replace("whsec_…", "")
        rest = ops.get(ENDPOINTS, params={"all_owners": True, "after": ids["gone"]}).json()["data"]
        assert [endpoint["id"] for endpoint in rest] == [ids["ann"]]
        for id_ in ids.values():
            assert code(bob.delete(f"{ENDPOINTS}/{id_}")) == "webhook_endpoint_not_found"
            assert ops.delete(f"{ENDPOINTS}/{id_}").json()["deleted"] is True
        assert ops.get(ENDPOINTS, params={"all_owners": True}).json()["data"] == []


def test_without_scopes_keys_reach_only_the_endpoints_of_revoked_keys(settings: Settings) -> None:
    """Without scopes, every key is an operator, but keys are still protected from each other."""
    with Api(msgspec.structs.replace(settings, key_scopes="")) as api, api.client(SECRETS["bob"]) as bob:
        ids = {owner: add_endpoint(api.services.database, owner) for owner in ("ann", "gone")}
        listed = bob.get(ENDPOINTS, params={"all_owners": True}).json()["data"]
        assert [endpoint["id"] for endpoint in listed] == [ids["gone"]]
        assert code(bob.delete(f"{ENDPOINTS}/{ids['ann']}")) == "webhook_endpoint_not_found"
        assert bob.delete(f"{ENDPOINTS}/{ids['gone']}").json()["deleted"] is True
