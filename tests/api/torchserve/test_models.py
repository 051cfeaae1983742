"""`/models`: descriptions of versions in TorchServe's format, and the choice of the default version."""

from __future__ import annotations

import httpx
import pytest

from tests.serving import Api, Shelf, wait_until


def test_models_and_versions_are_listed(api: Api, shelf: Shelf) -> None:
    for name in ("mood", "mood", "other"):
        shelf.classifier(name)
    with api.client() as client:
        first = client.get("/models", params={"limit": 1}).json()
        assert first == {"models": [{"modelName": "mood", "modelUrl": "mood:2"}], "nextPageToken": "mood"}
        rest = client.get("/models", params={"next_page_token": first["nextPageToken"]}).json()
        assert rest == {"models": [{"modelName": "other", "modelUrl": "other:1"}]}
        [newest] = client.get("/models/mood").json()
        assert newest["modelVersion"] == "2" and newest["workers"] == [] and newest["task"] == "classification"
        assert [entry["modelVersion"] for entry in client.get("/models/mood/all").json()] == ["2", "1"]
        assert client.get("/models/mood/1.0").json()[0]["modelUrl"] == "mood:1"
        client.post("/predictions/mood", json="x").raise_for_status()
        wait_until(lambda: client.get("/models/mood").json()[0]["workers"])
        assert client.get("/models/mood").json()[0]["workers"][0]["status"] == "READY"


def test_the_default_version_is_chosen(api: Api, shelf: Shelf) -> None:
    for _ in range(2):
        shelf.classifier()
    with api.client() as client:
        status = client.put("/models/mood/1/set-default").json()["status"]
        assert status == 'Default version successfully updated for model "mood" to "1"'
        wait_until(lambda: client.post("/predictions/mood", json="x").headers["x-model-version"] == "mood:1")
        assert client.get("/models/mood").json()[0]["aliases"] == ["champion"]
        missing = client.put("/models/mood/9/set-default")
        assert (missing.status_code, missing.json()["type"]) == (404, "ModelVersionNotFoundException")


@pytest.mark.parametrize(
    ("method", "path", "words"),
    [
        ("POST", "/models?url=https://models.example/a.mar", "POST /v1/registry/models"),
        ("PUT", "/models/mood?min_worker=3", "first request"),
        ("PUT", "/models/mood/1?min_worker=3", "first request"),
        ("DELETE", "/models/mood", "DELETE /v1/registry/models"),
        ("DELETE", "/models/mood/1", "DELETE /v1/registry/models"),
    ],
)
def test_other_management_is_refused(api: Api, method: str, path: str, words: str) -> None:
    reply = httpx.request(method, api.url + path, timeout=60)
    assert reply.status_code == 405 and words in reply.json()["message"]
    assert reply.json()["type"] == "MethodNotAllowedException"
