"""Triton's `generate` and `generate_stream`."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.fakes import FakeEngine
from tests.serving import Api, Shelf

PROMPT = "grüße 世界\u2028 "


@pytest.fixture(autouse=True)
def echo(shelf: Shelf) -> None:
    shelf.generator()
    shelf.classifier()


def events(reply: httpx.Response) -> list[dict[str, Any]]:
    assert reply.headers["content-type"].startswith("text/event-stream"), reply.text
    return [json.loads(event.removeprefix("data: ")) for event in reply.text.split("\n\n") if event]


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [({"max_tokens": 23}, "grüße 世界\u2028 grü\ufffd"), ({"max_tokens": 40, "stop": ["界\u2028 grü"]}, "grüße 世")],
)
def test_a_stream_joins_to_the_whole_text(api: Api, parameters: dict[str, Any], expected: str) -> None:
    body = {"text_input": PROMPT, "id": "42", "parameters": parameters}
    with api.client() as client:
        whole = client.post("/v2/models/echo/versions/1/generate", json=body).json()
        flat = client.post("/v2/models/echo/generate", json={"text_input": PROMPT, "id": "42", **parameters}).json()
        pieces = events(client.post("/v2/models/echo/generate_stream", json=body))
    assert whole == flat == {"model_name": "echo", "model_version": "1", "text_output": expected, "id": "42"}
    assert "".join(piece["text_output"] for piece in pieces) == expected
    assert all(piece["model_version"] == "1" for piece in pieces)


def test_the_input_in_the_output(api: Api) -> None:
    body = {"text_input": "ab", "max_tokens": 2, "exclude_input_in_output": False}
    with api.client() as client:
        assert client.post("/v2/models/echo/generate", json=body).json()["text_output"] == "abab"
        pieces = events(client.post("/v2/models/echo/generate_stream", json=body))
    assert "".join(piece["text_output"] for piece in pieces) == "abab"


def test_errors(api: Api, engine: FakeEngine) -> None:
    with api.client() as client:
        wrong = client.post("/v2/models/mood/generate", json={"text_input": "a"})
        assert wrong.status_code == 400 and "requires a language model" in wrong.json()["error"]
        unknown = client.post("/v2/models/echo/generate", json={"text_input": "a", "max_token": 1})
        assert "did you mean 'max_tokens'?" in unknown.json()["error"]
        engine.hold_after = 2
        headers = {"x-request-timeout-ms": "1500"}
        reply = client.post("/v2/models/echo/generate_stream", json={"text_input": "abc"}, headers=headers)
        assert "time limit" in events(reply)[-1]["error"]
