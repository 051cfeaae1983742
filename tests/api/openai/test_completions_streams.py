"""`/v1/completions` as a stream of events."""

from __future__ import annotations

import json
from typing import Any

import httpx
import openai
import pytest

from tests.fakes import FakeEngine
from tests.serving import Api, wait_until


def test_a_stream_joins_to_the_whole_text(client: openai.OpenAI) -> None:
    prompt = "grüße 世界 "  # characters of several bytes are never split
    whole = client.completions.create(model="echo", prompt=prompt, max_tokens=24).choices[0].text
    chunks = list(client.completions.create(model="echo", prompt=prompt, max_tokens=24, stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks) == whole
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None] * (len(chunks) - 1) + ["length"]
    assert len({chunk.id for chunk in chunks}) == 1
    assert all(chunk.usage is None for chunk in chunks)
    assert not any("\ufffd" in chunk.choices[0].text for chunk in chunks[:-1])


@pytest.mark.parametrize("more", [{}, {"logprobs": 0}, {"n": 2, "echo": True}], ids=str)
def test_an_event_is_one_line_for_every_client(api: Api, client: openai.OpenAI, more: dict[str, Any]) -> None:
    prompt = "a\u2028b\x85c\u2029d\x0c\x1e "
    body = {"model": "echo", "prompt": prompt, "max_tokens": 24, **more}
    whole = client.completions.create(**body).choices[0].text
    assert {"\u2028", "\x85", "\u2029", "\x0c", "\x1e"} <= set(whole)
    with api.client() as http, http.stream("POST", "/v1/completions", json={**body, "stream": True}) as reply:
        lines = [line for line in reply.iter_lines() if line]
    assert lines.pop() == "data: [DONE]"
    choices = [choice for line in lines for choice in json.loads(line.removeprefix("data: "))["choices"]]
    assert "".join(choice["text"] for choice in choices if choice["index"] == 0) == whole


def test_usage_comes_last_in_a_stream(client: openai.OpenAI) -> None:
    stream = client.completions.create(
        model="echo", prompt="abc", max_tokens=5, stream=True, stream_options={"include_usage": True}
    )
    *content, last = list(stream)
    assert all(chunk.usage is None and chunk.choices for chunk in content)
    assert last.choices == [] and last.usage is not None and last.usage.completion_tokens == 5


def test_a_stream_has_headers_and_ends_with_done(api: Api, client: openai.OpenAI) -> None:
    with api.client() as http:
        reply = http.post("/v1/completions", json={"model": "echo", "prompt": "ab", "max_tokens": 2, "stream": True})
    assert reply.headers["content-type"].startswith("text/event-stream")
    assert reply.headers["x-model-version"] == "echo:1" and reply.headers["x-request-id"]
    frames = [line for line in reply.text.split("\n\n") if line]
    assert frames[-1] == "data: [DONE]"
    first = json.loads(frames[0].removeprefix("data: "))
    assert first == {
        "id": first["id"],
        "object": "text_completion",
        "created": first["created"],
        "model": "echo",
        "system_fingerprint": None,
        "choices": [{"index": 0, "text": "a", "logprobs": None, "finish_reason": None, "stop_reason": None}],
        "usage": None,
    }


def test_a_deadline_before_and_after_the_first_byte(api: Api, client: openai.OpenAI, engine: FakeEngine) -> None:
    engine.hold_after = 3
    body = {"model": "echo", "prompt": "abc", "max_tokens": 30}
    with api.client() as http:
        reply = http.post("/v1/completions", json=body, headers={"x-request-timeout-ms": "100"})
        assert reply.status_code == 504 and reply.json()["error"]["code"] == "deadline_exceeded"
        for limit in ("1000", "8000"):  # the longer one in case a slow machine has no first token after a second
            headers = {"x-request-timeout-ms": limit}
            reply = http.post("/v1/completions", json={**body, "stream": True}, headers=headers)
            if reply.status_code == 200:
                break
        assert reply.status_code == 200
        *_, error, done = [line for line in reply.text.split("\n\n") if line]
        assert json.loads(error.removeprefix("data: "))["error"]["code"] == "deadline_exceeded"
        assert done == "data: [DONE]"
        assert http.post("/v1/completions", json=body, headers={"x-request-timeout-ms": "soon"}).status_code == 400
    wait_until(lambda: engine.running == 0)


def test_an_engines_refusal_is_a_plain_error_reply(api: Api, client: openai.OpenAI, engine: FakeEngine) -> None:
    engine.refuse_requests = ("out_of_memory", "no place")
    with pytest.raises(openai.InternalServerError) as refused:
        list(client.completions.create(model="echo", prompt="a", stream=True))
    assert refused.value.status_code == 503 and refused.value.code == "out_of_memory"
    assert httpx.get(f"{api.url}/livez", timeout=60).status_code == 200
