"""`/predictions`: requests as text, JSON and forms, with TorchServe's replies."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from app.api.http import large_replies
from app.inference.versions import ResolvedVersion
from tests.fakes import FakeEngine
from tests.serving import LABELS, Api, Shelf

TEXT = "I love this!"


@pytest.fixture
def probabilities(api: Api, shelf: Shelf) -> dict[str, float]:
    """The probability of each label of `mood` for `TEXT`, as /v1/classify reports it."""
    shelf.classifier()
    with api.client() as client:
        item = client.post("/v1/classify", json={"model": "mood", "input": TEXT}).json()["data"][0]
    return {entry["label"]: entry["score"] for entry in item["scores"]}


@pytest.mark.parametrize(
    "content",
    [
        {"content": TEXT},
        {"content": TEXT, "headers": {"content-type": "text/plain; charset=utf-8"}},
        {"json": TEXT},
        {"json": {"data": TEXT}},
        {"data": {"data": TEXT}},
        {"files": {"data": ("text.txt", TEXT.encode())}},
        {"files": {"data": (None, TEXT)}},
    ],
    ids=["raw", "text", "JSON text", "JSON object", "URL-encoded", "file", "multipart field"],
)
def test_a_text_may_be_sent_in_every_form(api: Api, probabilities: dict[str, float], content: dict[str, Any]) -> None:
    with api.client() as client:
        for method, path in (
            ("POST", "/predictions/mood"),
            ("PUT", "/predictions/mood"),
            ("POST", "/predictions/mood/1.0"),
        ):
            reply = client.request(method, path, **content)
            assert reply.status_code == 200, reply.text
            assert reply.json() == probabilities and list(reply.json()) == list(probabilities)
            assert reply.headers["x-model-version"] == "mood:1"
    assert set(probabilities) == set(LABELS) and sum(probabilities.values()) == pytest.approx(1)


def test_several_inputs_are_answered_with_a_list(api: Api, probabilities: dict[str, float]) -> None:
    with api.client() as client:
        assert client.post("/predictions/mood", json=[TEXT, "other"]).json()[0] == probabilities
        instances = [{"data": TEXT}, TEXT, {"text": TEXT}]
        reply = client.post("/predictions/mood", json={"instances": instances}).json()
        assert reply == {"predictions": [probabilities] * 3}


def test_a_pair_and_numbers(api: Api, shelf: Shelf) -> None:
    shelf.classifier("pairs")
    shelf.classifier("waves", input="features", features=2, vocab_size=None)
    with api.client() as client:
        pair = {"data": {"text": "it rains", "text_pair": "rain is falling"}}
        assert set(client.post("/predictions/pairs", json=pair).json()) == set(LABELS)
        [numbers] = client.post("/predictions/waves", json={"data": [[[0.1, 0], [0.4, 0.05]]]}).json()
        assert set(numbers) == set(LABELS)


def test_a_regression_and_a_generation(api: Api, shelf: Shelf, engine: FakeEngine) -> None:
    shelf.put("stars", task="regression", classes=1, labels=())
    shelf.generator()
    engine.classes = 1
    with api.client() as client:
        assert isinstance(client.post("/predictions/stars", json="fine").json(), float)
        text = client.post("/predictions/echo", json={"data": "grüße 世界 ", "max_new_tokens": 25})
        assert text.headers["content-type"] == "text/plain; charset=utf-8"
        assert text.text == "grüße 世界 grüße \ufffd"
        assert text.headers["x-generated-tokens"] == "25"
        texts = client.post("/predictions/echo", json={"instances": ["ab", "c"], "max_new_tokens": 3}).json()
        assert texts == {"predictions": ["aba", "ccc"]}
        assert len(client.post("/predictions/echo", content="ab").text) > 16  # as far as the context reaches


@pytest.mark.parametrize(
    ("path", "content", "status", "kind", "message"),
    [
        ("/predictions/nobody", {"json": TEXT}, 404, "ModelNotFoundException", "nobody"),
        ("/predictions/mood/7", {"json": TEXT}, 404, "ModelNotFoundException", "7"),
        ("/predictions/mood/x", {"json": TEXT}, 404, "ModelVersionNotFoundException", "versions are numbers"),
        ("/predictions/mood:1/1", {"json": TEXT}, 404, "ModelVersionNotFoundException", "leave out '1'"),
        ("/predictions/mood", {"content": b"\xff"}, 400, "BadRequestException", "not UTF-8"),
        ("/predictions/mood", {"content": b" "}, 400, "BadRequestException", "data is empty"),
        ("/predictions/mood", {"data": {"text": TEXT}}, 400, "BadRequestException", "form field 'data'"),
        ("/predictions/mood", {"files": {"text": (None, TEXT)}}, 400, "BadRequestException", "form field 'data'"),
        ("/predictions/mood", {"json": {"dat": TEXT}}, 400, "BadRequestException", "did you mean 'data'?"),
        ("/predictions/mood", {"json": {}}, 400, "BadRequestException", "either as data or as instances"),
        ("/predictions/mood", {"json": {"instances": [{"x": 1}]}}, 400, "BadRequestException", '{"data": input}'),
        ("/explanations/mood", {"json": TEXT}, 404, "ResourceNotFoundException", "POST /predictions"),
    ],
)
def test_errors_have_torchserves_form(
    api: Api, shelf: Shelf, path: str, content: dict[str, Any], status: int, kind: str, message: str
) -> None:
    shelf.classifier()
    reply = httpx.post(api.url + path, timeout=60, **content)
    body = reply.json()
    assert set(body) == {"code", "type", "message"}
    assert (reply.status_code, body["code"], body["type"]) == (status, status, kind) and message in body["message"]


def test_an_image_is_refused(api: Api) -> None:
    reply = httpx.post(f"{api.url}/predictions/mood", content=b"\xff", headers={"content-type": "image/png"})
    assert reply.status_code == 415 and "not as 'image/png'" in reply.json()["message"]


def test_the_size_of_a_reply_is_checked_with_the_version_that_answers(
    api: Api, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the request is read, its alias moves from a version with few labels to one with more labels."""
    shelf.classifier("few", labels=LABELS[:2])
    shelf.classifier("many")
    versions, names = api.services.inference.versions, iter(["few", "many"])
    get = versions.get

    async def get_next(reference: str, principal: str) -> ResolvedVersion:
        return await get(next(names), principal)

    monkeypatch.setattr(versions, "get", get_next)
    monkeypatch.setattr(large_replies, "LARGEST", 2)
    reply = httpx.post(f"{api.url}/predictions/mood", json=TEXT)
    assert reply.status_code == 400 and f"{len(LABELS)} labels" in reply.json()["message"]
