"""Ollama's lists of models, with Ollama's client."""

from __future__ import annotations

import httpx
import ollama
import pytest

from tests.serving import Api, Shelf, wait_until


def test_models_are_listed_and_their_names_can_be_sent_back(client: ollama.Client, shelf: Shelf) -> None:
    shelf.generator()
    shelf.registry.set_alias("echo", "champion", 1, "local")
    models = client.list().models
    assert [model.model for model in models] == ["echo:latest", "echo:2", "echo:1", "mood:latest", "mood:1"]
    digests = {model.model: model.digest for model in models}
    assert digests["echo:latest"] == digests["echo:1"] != digests["echo:2"]
    assert all(model.size and model.details and model.details.family == "lstm" for model in models)
    for name in ("echo:latest", "echo:2"):
        assert client.generate(name, "ab", options={"num_predict": 2}).response == "ab"


def test_a_version_is_described(client: ollama.Client) -> None:
    shown = client.show("echo:latest")
    assert shown.capabilities == ["completion", "embedding"] and shown.modelinfo is not None
    assert shown.modelinfo["ostinato.reference"] == "echo:1" and shown.modelinfo["lstm.context_length"] == 64
    assert client.show("mood").capabilities == ["embedding"]
    with pytest.raises(ollama.ResponseError, match="nobody") as missing:
        client.show("nobody")
    assert missing.value.status_code == 404


def test_loaded_versions_are_listed(client: ollama.Client) -> None:
    assert client.ps().models == []
    client.generate("echo")
    wait_until(lambda: client.ps().models)
    [running] = client.ps().models
    assert (running.model, running.size, running.context_length) == ("echo:1", 1000, 64)


def test_the_release(client: ollama.Client, api: Api) -> None:
    with api.client() as http:
        assert http.get("/api/version").json() == http.get("/version").json()


@pytest.mark.parametrize(
    ("method", "path", "words"),
    [
        ("POST", "/api/pull", "ostinato import"),
        ("POST", "/api/push", "ostinato export"),
        ("POST", "/api/create", "ostinato import"),
        ("POST", "/api/copy", "alias"),
        ("DELETE", "/api/delete", "DELETE /v1/registry"),
    ],
)
def test_other_routes_say_what_to_call(api: Api, method: str, path: str, words: str) -> None:
    reply = httpx.request(method, api.url + path, timeout=60)
    assert reply.status_code == 400 and list(reply.json()) == ["error"] and words in reply.json()["error"]
