"""In every dialect, the joined stream equals the whole text, even with characters of several bytes and stop strings
that end between tokens. With real networks and a byte tokenizer, these cases are frequent."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.api.real import Real, running

ARCHITECTURES = ("rnn", "lstm", "gru", "transformer")
PROMPT = "grüße 世界 "
MOST = 48
MESSAGES = [{"role": "user", "content": PROMPT}]


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory, _sqlite_template: Path) -> Iterator[Real]:
    """A service that accepts conversations even for versions without a chat template."""
    with running(tmp_path_factory.mktemp("streams"), _sqlite_template, chat_fallback=True) as service:
        yield service


def completions(client: httpx.Client, name: str, stop: list[str]) -> Iterator[str]:
    body = {"model": name, "prompt": PROMPT, "max_tokens": MOST, "temperature": 0, "stop": stop}
    yield client.post("/v1/completions", json=body).json()["choices"][0]["text"]
    chunks = events_of(client.post("/v1/completions", json={**body, "stream": True}))
    yield "".join(choice["text"] for chunk in chunks for choice in chunk["choices"])


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


def hub(client: httpx.Client, name: str, stop: list[str]) -> Iterator[str]:
    body = {"inputs": PROMPT, "parameters": {"max_new_tokens": MOST, "stop": stop}}
    [whole] = client.post(f"/models/{name}", json=body).json()
    yield whole["generated_text"]
    tokens = events_of(client.post(f"/models/{name}", json={**body, "stream": True}))
    yield "".join(event["token"]["text"] for event in tokens if not event["token"]["special"])
    yield tokens[-1]["generated_text"]


def chat(client: httpx.Client, name: str, stop: list[str]) -> Iterator[str]:
    body = {"model": name, "messages": MESSAGES, "max_tokens": MOST, "temperature": 0, "stop": stop}
    yield client.post("/v1/chat/completions", json=body).json()["choices"][0]["message"]["content"]
    chunks = events_of(client.post("/v1/chat/completions", json={**body, "stream": True}))
    yield "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])


def responses(client: httpx.Client, name: str) -> Iterator[str]:
    body = {"model": name, "input": MESSAGES, "max_output_tokens": MOST, "temperature": 0}
    yield client.post("/v1/responses", json=body).json()["output"][0]["content"][0]["text"]
    events = events_of(client.post("/v1/responses", json={**body, "stream": True}))
    yield "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")
    yield events[-1]["response"]["output"][0]["content"][0]["text"]


def ollama_chat(client: httpx.Client, name: str, stop: list[str]) -> Iterator[str]:
    body = {"model": name, "messages": MESSAGES, "options": {"num_predict": MOST, "temperature": 0, "stop": stop}}
    yield client.post("/api/chat", json={**body, "stream": False}).json()["message"]["content"]
    lines = client.post("/api/chat", json=body).text.split("\n")
    yield "".join(json.loads(line)["message"]["content"] for line in lines if line)


def events_of(reply: httpx.Response) -> list[Any]:
    """The data of all server-sent events that contain JSON."""
    assert reply.headers["content-type"].startswith("text/event-stream"), reply.text
    lines = [line.removeprefix("data:").strip() for line in reply.text.split("\n") if line.startswith("data:")]
    return [json.loads(line) for line in lines if line != "[DONE]"]


def stops_in(text: str) -> tuple[str, list[list[str]]]:
    """A part of the text, and lists of stop strings: an empty list, that part alone, and that part after a string that
    begins like it but never matches."""
    middle = text[4:7]
    return middle, [[], [middle], [middle[1:] + "never", middle]]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_joined_stream_equals_the_whole_text(real: Real, architecture: str) -> None:
    name = f"streams-{architecture}"
    real.serve(name, architecture, context_length=128)
    completion: dict[str, Any] = {"model": name, "prompt": PROMPT, "max_tokens": MOST, "temperature": 0}
    with real.api.client() as client:
        text = client.post("/v1/completions", json=completion).json()["choices"][0]["text"]
        middle, stops = stops_in(text)
        for stop in stops:
            cut = text[: text.index(middle)] if stop else text
            for dialect in (completions, ollama, triton):
                assert set(dialect(client, name, stop)) == {cut}, dialect
            included = {cut + (middle if stop else "")}  # TGI includes the stop string
            assert set(tgi(client, name, stop)) == set(hub(client, name, stop)) == included
        raw = {"data": PROMPT, "max_new_tokens": MOST, "temperature": 0}
        assert client.post(f"/predictions/{name}", json=raw).text == text


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_joined_stream_of_a_conversation_equals_the_whole_reply(real: Real, architecture: str) -> None:
    name = f"streams-{architecture}"
    real.serve(name, architecture, context_length=128)
    with real.api.client() as client:
        [text] = set(responses(client, name))
        middle, stops = stops_in(text)
        for stop in stops:
            cut = text[: text.index(middle)] if stop else text
            assert set(chat(client, name, stop)) == set(ollama_chat(client, name, stop)) == {cut}
