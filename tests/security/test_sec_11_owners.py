"""SEC-11: through no route with an id can a key read, change, use or delete what belongs to another key."""

from __future__ import annotations

import re
from typing import Any

import httpx
import msgspec
import pytest

from app.settings import Settings
from tests.serving import Api, Shelf

SECRETS = {"ann": "secret-of-ann", "bob": "secret-of-bob"}

LISTS = (
    "/v1/files", "/v1/fine_tuning/jobs", "/v1/evaluations", "/v1/batches", "/v1/registry/models", "/v1/models",
)  # fmt: skip


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return msgspec.structs.replace(settings, api_keys=",".join(f"{name}:{key}" for name, key in SECRETS.items()))


def made_by(ann: httpx.Client, shelf: Shelf) -> dict[str, str]:
    """Create one object of each kind. Returns the values that identify them in paths, by parameter."""
    shelf.classifier("mood", owner="ann", alias="live")
    form = {"data": {"purpose": "fine-tune"}, "files": {"file": ("a.csv", b"text,label\na,b\n")}}
    file = ann.post("/v1/files", **form).json()["id"]  # type: ignore[arg-type]
    announced = {"purpose": "fine-tune", "filename": "a.csv", "bytes": 3, "mime_type": "text/csv"}
    job = ann.post("/v1/fine_tuning/jobs", json={"model": "lstm", "training_file": file}).json()["id"]
    evaluation = ann.post("/v1/evaluations", json={"model": "mood", "file": file}).json()["id"]
    requests = {"data": {"purpose": "batch"}, "files": {"file": ("a.jsonl", b"{}\n")}}
    batch = {"endpoint": "/v1/embeddings", "completion_window": "24h"}
    batch["input_file_id"] = requests_file = ann.post("/v1/files", **requests).json()["id"]  # type: ignore[arg-type]
    return {
        "name": "mood", "model": "mood:1", "version": "1", "alias": "live", "path": "config.json", "file_id": file,
        "upload_id": ann.post("/v1/uploads", json=announced).json()["id"], "job_id": job, "evaluation_id": evaluation,
        "batch_id": ann.post("/v1/batches", json=batch).json()["id"], "batch_file_id": requests_file,
        "task": "text-classification",
    }  # fmt: skip


BODIES: dict[str, Any] = {  # of the routes that check the body before they look for the object
    "infer": {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["a"]}]},
    "generate": {"text_input": "a"}, "generate_stream": {"text_input": "a"}, "complete": {"part_ids": ["part-1"]},
    "load": {}, "unload": {}, "set-default": None,
    "probes": {"input": ["a"]},
    "completions": {"messages": [{"role": "user", "content": "a"}]}, "{alias}": {"version": 1},
}  # fmt: skip


def test_every_route_with_an_id_hides_the_objects_of_other_keys(api: Api, shelf: Shelf) -> None:
    with api.client(SECRETS["ann"]) as ann, api.client(SECRETS["bob"]) as bob:
        ids = made_by(ann, shelf)
        document = bob.get("/openapi.json", timeout=60).json()["paths"]
        routes = [(m.upper(), path) for path, ms in document.items() for m in ms if "{" in path]
        assert len(routes) > 40
        before = state(ann, ids)
        for method, path in routes:
            if "webhook_endpoint_id" in path:
                continue  # test_sec_11_webhooks.py
            concrete = re.sub(r"{([^}]*)}", lambda match: ids[match[1]], path)
            body = BODIES.get(path.rsplit("/", 1)[1], {"inputs": "a"})
            if path.startswith("/predictions"):
                reply = bob.request(method, concrete, content=b"a", headers={"content-type": "text/plain"})
                assert reply.status_code == 404, (method, path, reply.text)
            elif path.endswith("/parts") or (method, path.rsplit("/", 1)[1]) == ("POST", "versions"):
                form = {"data": ("a", b"abc")} if path.endswith("/parts") else {"file": ("a.tar", b"abc")}
                reply = bob.post(concrete, files=form)
                assert reply.status_code in (400, 404), (method, path, reply.text)
            else:
                reply = bob.request(method, concrete, json=body if method in ("POST", "PUT") else None)
                assert reply.status_code in (400, 404) and "config" not in reply.text, (method, path, reply.text)
                assert reply.status_code == 404 or path.endswith(("/ready", "/unload")), (method, path, reply.text)
        for field in ("training_file", "validation_file"):
            body = {"model": "lstm", "training_file": ids["file_id"], field: ids["file_id"]}
            refused = bob.post("/v1/fine_tuning/jobs", json=body)
            assert (refused.status_code, refused.json()["error"]["code"]) == (400, "file_not_found")
        batch = {"input_file_id": ids["batch_file_id"], "endpoint": "/v1/embeddings", "completion_window": "24h"}
        refused = bob.post("/v1/batches", json=batch)
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "file_not_found")
        for path in LISTS:
            assert bob.get(path).json()["data"] == [] != ann.get(path).json()["data"], path
        assert state(ann, ids) == before


def state(ann: httpx.Client, ids: dict[str, str]) -> list[object]:
    """What the owner sees of the objects, without fields that change by themselves."""
    job = ann.get(f"/v1/fine_tuning/jobs/{ids['job_id']}").json()
    return [
        job["status"],
        ann.get(f"/v1/evaluations/{ids['evaluation_id']}").json()["status"],
        ann.get(f"/v1/batches/{ids['batch_id']}").json()["status"],
        ann.get("/v1/files").json()["data"],
        ann.get("/v1/registry/models/mood").json(),
        ann.get("/v1/registry/models/mood/aliases/live/history").json()["data"],
    ]
