"""`/api/generate`, with Ollama's own client."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import ollama
import pytest

from app.tokenization.chat import TEMPLATE
from tests.fakes import FakeEngine
from tests.serving import Api, Shelf

PREDICATE = {"type": "predicate", "instructions": "?"}
PROMPT = "grüße 世界\u2028 "


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"num_predict": 23}, "grüße 世界\u2028 grü\ufffd"),
        ({"num_predict": 40, "stop": ["界\u2028 grü"]}, "grüße 世"),
        ({"num_predict": 40, "stop": "zzz"}, "grüße 世界\u2028 grüße 世界\u2028 grü"),
    ],
    ids=["an incomplete character", "a stop string over several tokens", "a stop string that never comes"],
)
def test_the_lines_of_a_stream_join_to_the_whole_text(
    client: ollama.Client, options: dict[str, Any], expected: str
) -> None:
    whole = client.generate("echo", PROMPT, options=options)
    lines = list(client.generate("echo", PROMPT, options=options, stream=True))
    assert whole.response == "".join(line.response for line in lines) == expected
    assert [line.done for line in lines] == [False] * (len(lines) - 1) + [True] and whole.done
    assert whole.done_reason == lines[-1].done_reason == ("stop" if len(expected) < 10 else "length")
    assert whole.eval_count == lines[-1].eval_count and (whole.eval_count or 0) > 0
    assert whole.prompt_eval_count == len(PROMPT.encode())
    assert min(whole.total_duration, whole.eval_duration, whole.prompt_eval_duration) > 0  # type: ignore[type-var]


def test_the_asynchronous_client(client: ollama.Client, api: Api) -> None:
    async def texts() -> list[str]:
        async with ollama.AsyncClient(host=api.url, timeout=60) as other:
            stream = await other.generate("echo:latest", "ab", options={"num_predict": 3}, stream=True)
            return [line.response async for line in stream]

    assert "".join(asyncio.run(texts())) == "aba"


def test_a_missing_stream_means_true_and_every_line_is_one_line(api: Api, client: ollama.Client) -> None:
    with api.client() as http, http.stream("POST", "/api/generate", json={"model": "echo", "prompt": PROMPT}) as reply:
        assert reply.headers["content-type"] == "application/x-ndjson"
        assert reply.headers["x-model-version"] == "echo:1"
        lines = [json.loads(line) for line in reply.iter_lines()]
    assert lines[-1]["done"] and len(lines) > 10 and lines[0]["model"] == "echo"


def test_the_content_type_of_curl_is_accepted_but_not_from_other_web_sites(api: Api, client: ollama.Client) -> None:
    form = {"content-type": "application/x-www-form-urlencoded"}
    with api.client() as http:
        for more, status in ({}, 200), ({"origin": "https://else.example"}, 403), ({"content-type": "text/plain"}, 415):
            reply = http.post("/api/generate", content=b'{"model": "echo", "prompt": "a"}', headers={**form, **more})
            assert reply.status_code == status


def test_without_a_prompt_the_version_is_loaded(client: ollama.Client, engine: FakeEngine) -> None:
    reply = client.generate("echo")
    assert (reply.done, reply.done_reason, reply.response) == (True, "load", "")
    assert list(engine.loaded.values()) == ["echo:1"]
    [line] = client.generate("echo", stream=True)
    assert line.done_reason == "load"


def test_a_version_for_conversations_reads_the_prompt_as_a_message(
    client: ollama.Client, shelf: Shelf, engine: FakeEngine
) -> None:
    shelf.generator("talk", chat_template=TEMPLATE, context_length=128)
    options = {"num_predict": 60}
    assert client.generate("talk", "Hi", system="Be brief.", options=options).response.startswith(
        "system: Be brief.\nuser: Hi\n"
    )
    assert client.generate("talk", "Hi", raw=True, options=options).response.startswith("HiHi")


def test_ollamas_options_reach_the_engine(client: ollama.Client, engine: FakeEngine) -> None:
    options = {
        "temperature": 0.5, "top_k": 4, "top_p": 0.9, "min_p": 0.1, "seed": 7, "repeat_penalty": 1.1, "num_predict": 2,
        "num_ctx": 4096, "num_gpu": 1, "mirostat": 0,
    }  # fmt: skip
    client.generate("echo", "ab", options=options, keep_alive="5m", think=False)
    params = engine.received[-1].params  # type: ignore[union-attr]
    assert (params.temperature, params.top_k, params.top_p, params.min_p) == (0.5, 4, 0.9, 0.1)
    assert (params.seed, params.repetition_penalty, params.max_tokens) == (7, 1.1, 2)


@pytest.mark.parametrize(
    ("fields", "status", "words"),
    [
        ({"model": "nobody", "prompt": "a"}, 404, "nobody"),
        ({"model": "mood", "prompt": "a"}, 400, "requires a language model"),
        ({"model": "echo", "prompt": "a", "options": {"tempature": 1}}, 400, "did you mean 'temperature'?"),
        ({"model": "echo", "prompt": "a", "options": {"mirostat": 2}}, 400, "options.mirostat"),
        ({"model": "echo", "prompt": "a", "format": "json"}, 400, "format"),
        ({"model": "echo", "prompt": "a", "think": True}, 400, "think is not supported"),
        ({"model": "echo", "prompt": "a", "system": "b"}, 400, "trained on conversations"),
        ({"model": "echo", "prompt": "a" * 99}, 400, "truncate: true"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_errors_have_ollamas_form(
    client: ollama.Client, api: Api, fields: dict[str, Any], status: int, words: str
) -> None:
    with api.client() as http:
        reply = http.post("/api/generate", json=fields)
    assert reply.status_code == status and list(reply.json()) == ["error"] and words in reply.json()["error"]


def test_an_error_during_a_stream_is_a_line(client: ollama.Client, api: Api, engine: FakeEngine) -> None:
    engine.hold_after = 2
    hurried = ollama.Client(host=api.url, headers={"x-request-timeout-ms": "1500"}, timeout=60)
    with hurried, pytest.raises(ollama.ResponseError, match="time limit"):
        list(hurried.generate("echo", "abc", options={"num_predict": 9}, stream=True))


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("/api/generate", {"prompt": "a", "images": ["aGk="]}, "images is not supported; leave it out"),
        ("/api/generate", {"prompt": "a", "format": "json"}, "format is not supported; leave it out"),
        ("/api/generate", {"prompt": "a", "top_logprobs": 2}, "top_logprobs is not supported; leave it out"),
        ("/api/generate", {"prompt": "a", "options": {"mirostat": 1}}, "options.mirostat is not supported"),
        ("/api/chat", {"tools": [{}]}, "tools is not supported; leave it out"),
        ("/generate", {"inputs": "a", "parameters": {"adapter_id": "x"}}, "parameters.adapter_id is not supported"),
        (
            "/v1/completions",
            {"prompt": "a", "logit_bias": {"x": 1}},
            "logit_bias must have integers as keys",
        ),
        ("/v1/completions", {"prompt": "a", "logit_bias": [1]}, "logit_bias must have at most 0 items"),
        ("/v1/decisions", {"input": "a", "questions": [PREDICATE], "stream": True}, "stream is not supported"),
        ("/api/blobs/sha256:0", {}, "ostinato import"),
        ("/decode", {"ids": [1]}, "POST /detokenize"),
        ("/api-description", {}, "GET /openapi.json"),
    ],
)
def test_what_is_not_supported_is_named(
    api: Api, client: ollama.Client, path: str, body: dict[str, Any], words: str
) -> None:
    """Checks the formats of all dialects, because they share the code that converts these errors."""
    with api.client() as http:
        named = {} if path == "/generate" else {"model": "echo"}
        reply = http.post(path, json=named | body, headers={"x-model": "echo"})
    assert reply.status_code in (400, 404, 422) and words in reply.text.replace("\\", "")
