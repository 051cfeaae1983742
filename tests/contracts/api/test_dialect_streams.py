"""In every dialect, the joined stream equals the whole text, even with characters of several bytes and stop strings
that end between tokens. With real networks and a byte tokenizer, these cases are frequent."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.api.real import Real

ARCHITECTURES = ("rnn", "lstm", "gru", "transformer")
PROMPT = "grüße 世界 "
MOST = 48


def ollama(client: httpx.Client, name: str, stop: list[str]) -> Iterator[str]:
    options = {"num_predict": MOST, "temperature": 0, "stop": stop}
    body = {"model": name, "prompt": PROMPT, "options": options}
    yield client.post("/api/generate", json={**body, "stream": False}).json()["response"]
    lines = client.post("/api/generate", json=body).text.split("\n")
    yield "".join(json.loads(line)["response"] for line in lines if line)


def tgi(client: httpx.Client, name: str, stop: list[str]) -> Iterator[str]:
    body = {"inputs": PROMPT, "parameters": {"max_new_tokens": MOST, "stop": stop}}
    yield client.post(f"/generate?model={name}", json=body).json()["generated_text"]
    events = client.post(f"/generate_stream?model={name}", json=body).text.split("\n\n")
    tokens = [json.loads(event.removeprefix("data: ")) for event in events if event]
    yield "".join(event["token"]["text"] for event in tokens if not event["token"]["special"])
    yield tokens[-1]["generated_text"]


def triton(client: httpx.Client, name: str, stop: list[str]) -> Iterator[str]:
    body = {"text_input": PROMPT, "max_tokens": MOST, "temperature": 0, "stop": stop}
    yield client.post(f"/v2/models/{name}/generate", json=body).json()["text_output"]
    events = client.post(f"/v2/models/{name}/generate_stream", json=body).text.split("\n\n")
    yield "".join(json.loads(event.removeprefix("data: "))["text_output"] for event in events if event)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_joined_stream_equals_the_whole_text(real: Real, architecture: str) -> None:
    name = f"streams-{architecture}"
    real.serve(name, architecture, context_length=128)
    completion: dict[str, Any] = {"model": name, "prompt": PROMPT, "max_tokens": MOST, "temperature": 0}
    with real.api.client() as client:
        text = client.post("/v1/completions", json=completion).json()["choices"][0]["text"]
        middle = text[4:7]
        for stop in ([], [middle], [middle[1:] + "never", middle]):
            cut = text[: text.index(middle)] if stop else text
            assert set(ollama(client, name, stop)) == set(triton(client, name, stop)) == {cut}
            assert set(tgi(client, name, stop)) == {cut + (middle if stop else "")}  # TGI includes the stop string
        raw = {"data": PROMPT, "max_new_tokens": MOST, "temperature": 0}
        assert client.post(f"/predictions/{name}", json=raw).text == text
