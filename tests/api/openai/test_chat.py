"""`/v1/chat/completions`: answers, streams, limits and rejected requests."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from app.api.openai.chat_schemas import FINGERPRINT
from app.settings import Settings
from app.tokenization.chat import TEMPLATE
from app.wire import engine as wire
from tests.api.clients import events, leave_after_sending, stream_error
from tests.fakes import FakeEngine
from tests.serving import Api, Shelf, byte_tokenizer, engine_of, wait_until

MESSAGES: Any = [{"role": "user", "content": "ab"}]
PROMPT = "user: ab\nassistant:"  # the fake engine repeats it


@pytest.fixture
def http(api: Api, shelf: Shelf) -> Iterator[httpx.Client]:
    shelf.generator("talk", chat_template=TEMPLATE, context_length=128)
    shelf.generator("plain")
    shelf.classifier("mood")
    with api.client() as client:
        yield client


def ask(http: httpx.Client, **fields: Any) -> httpx.Response:
    return http.post("/v1/chat/completions", json={"model": "talk", "messages": MESSAGES, "max_tokens": 6, **fields})


def content(reply: httpx.Response, index: int = 0) -> str:
    """The joined text of one choice of a stream."""
    assert reply.status_code == 200, reply.text
    *chunks, done = events(reply)
    assert done == "data: [DONE]"
    choices = [choice for chunk in chunks for choice in json.loads(chunk.removeprefix("data: "))["choices"]]
    return "".join(choice["delta"].get("content", "") for choice in choices if choice["index"] == index)


def prompt_of(engine: FakeEngine) -> tuple[str, list[int]]:
    """The last prompt, as text in which `|` represents an end token, and as token ids."""
    message = engine.wait_for(wire.Generate)[-1]
    assert isinstance(message, wire.Generate)
    tokenizer, ids = byte_tokenizer(), message.prompt
    return "".join("|" if i == tokenizer.eos_id else tokenizer.decode([i]) for i in ids), ids


def test_a_whole_answer(api: Api, http: httpx.Client) -> None:
    reply = ask(http)
    body = reply.json()
    assert body["choices"] == [
        {
            "index": 0,
            "message": {"content": "user: ", "role": "assistant", "refusal": None},
            "logprobs": None,
            "finish_reason": "length",
            "stop_reason": None,
        }
    ]
    assert (body["object"], body["model"], body["id"][:9]) == ("chat.completion", "talk", "chatcmpl-")
    assert body["usage"] == {
        "prompt_tokens": len(PROMPT), "completion_tokens": 6, "total_tokens": len(PROMPT) + 6,
        "prompt_tokens_details": {"cached_tokens": 0},
    }  # fmt: skip
    assert reply.headers["x-model-version"] == "talk:1" and reply.headers["x-generated-tokens"] == "6"


@pytest.mark.parametrize("route", ["/v1/chat/completions", "/v1/responses"])
def test_cached_tokens_and_the_salt_of_the_cache(http: httpx.Client, engine: FakeEngine, route: str) -> None:
    engine.cached_tokens = [5]
    body = {"model": "talk", "messages": MESSAGES} if "chat" in route else {"model": "talk", "input": "ab"}
    reply = http.post(route, json={**body, "cache_salt": "mine"})
    usage = reply.json()["usage"]
    details = usage["prompt_tokens_details" if "chat" in route else "input_tokens_details"]
    assert details["cached_tokens"] == 5
    message = engine.wait_for(wire.Generate)[-1]
    assert isinstance(message, wire.Generate) and message.cache_salt == "mine"


def test_a_conversation_is_read_as_in_training(http: httpx.Client, engine: FakeEngine) -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Hi"}, {"type": "text", "text": "there"}]},
        {"role": "assistant", "content": "Ho", "refusal": None, "tool_calls": None},
        {"role": "developer", "content": "<eos>"},
        {"role": "user", "content": "What?"},
    ]
    assert ask(http, messages=messages, max_tokens=1).status_code == 200
    text, _ = prompt_of(engine)
    first = "system: Be brief.\nuser: Hi\nthere\nassistant: Ho|"
    assert text == first + "\ndeveloper: <eos>\nuser: What?\nassistant:"


def test_a_stream_joins_to_the_whole_answer(http: httpx.Client) -> None:
    fields = {
        "messages": [{"role": "user", "content": "grüße 世界\u2028"}],
        "max_tokens": 60,
        "stop": ["世界X", "t:us"],
    }
    whole = ask(http, **fields).json()["choices"][0]
    assert whole["message"]["content"] == "user: grüße 世界\u2028\nassistan" and whole["stop_reason"] == "t:us"
    reply = ask(http, **fields, stream=True)
    chunks = [json.loads(event.removeprefix("data: ")) for event in events(reply)[:-1]]
    assert content(reply) == whole["message"]["content"]
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert chunks[-1]["choices"] == [
        {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop", "stop_reason": "t:us"}
    ]
    assert chunks[1] == {
        "id": chunks[0]["id"], "object": "chat.completion.chunk", "created": chunks[0]["created"], "model": "talk",
        "system_fingerprint": FINGERPRINT, "usage": None,
        "choices": [{"index": 0, "delta": {"content": "u"}, "logprobs": None, "finish_reason": None}],
    }  # fmt: skip


def test_the_client_of_tgi_reads_the_reply(http: httpx.Client) -> None:
    """`text_generation.Client.chat` sends every field, and needs a text as `system_fingerprint`.

    It cannot read a stream: it requires `role` and `tool_calls` in each event, and reads `[DONE]` as JSON.
    """
    unset = ("repetition_penalty", "frequency_penalty", "logit_bias", "logprobs", "top_logprobs", "n", "seed",
             "presence_penalty", "temperature", "top_p", "tools", "tool_choice")  # fmt: skip
    message = {"role": "user", "content": "ab", "name": None, "tool_calls": None}
    body = {"model": "tgi", "messages": [message], "max_tokens": 6, "stream": False, **dict.fromkeys(unset)}
    reply = http.post("/models/talk/v1/chat/completions", json=body).json()
    assert reply["choices"][0]["message"]["content"] == "user: "
    assert reply["system_fingerprint"] == FINGERPRINT and FINGERPRINT.startswith("ostinato-")


def test_several_answers_and_the_token_counts_in_a_stream(http: httpx.Client) -> None:
    usage = {"include_usage": True}
    reply = ask(http, n=3, stream=True, stream_options=usage)
    assert [content(reply, index) for index in range(3)] == ["user: "] * 3
    chunks = [json.loads(event.removeprefix("data: ")) for event in events(reply)[:-1]]
    assert chunks[-1]["choices"] == [] and chunks[-1]["usage"]["completion_tokens"] == 18
    assert all(chunk["usage"] is None for chunk in chunks[:-1])
    reply = ask(http, stream=True, stream_options={**usage, "continuous_usage_stats": True})
    counts = [json.loads(event.removeprefix("data: "))["usage"]["completion_tokens"] for event in events(reply)[:-1]]
    assert counts == sorted(counts) and counts[-1] == 6 and content(reply) == "user: "
    assert [c["message"]["content"] for c in ask(http, n=2).json()["choices"]] == ["user: "] * 2


@pytest.mark.parametrize("stream", [False, True])
def test_log_probabilities(http: httpx.Client, stream: bool) -> None:
    fields = {"messages": [{"role": "user", "content": "é"}], "max_tokens": 8, "logprobs": True, "top_logprobs": 2}
    reply = ask(http, **fields, stream=stream)
    if stream:
        chunks = [json.loads(event.removeprefix("data: ")) for event in events(reply)[:-1]]
        reports = [c["choices"][0]["logprobs"] for c in chunks]
        tokens = [token for report in reports if report for token in report["content"]]
        assert content(reply) == "user: é"
    else:
        tokens = reply.json()["choices"][0]["logprobs"]["content"]
    assert bytes(byte for token in tokens for byte in token["bytes"]).decode() == "user: é"
    assert tokens[0]["token"] == "u" and tokens[0]["logprob"] == pytest.approx(-0.1)
    assert [top["token"] for top in tokens[0]["top_logprobs"]] == ["u", "v"]
    assert ask(http, logprobs=True).json()["choices"][0]["logprobs"]["content"][0]["top_logprobs"] == []


def test_an_answer_without_a_limit_may_fill_the_context(http: httpx.Client, engine: FakeEngine, shelf: Shelf) -> None:
    shelf.generator("gpt", architecture="transformer", heads=2, chat_template=TEMPLATE)  # its context has 64 tokens
    body: dict[str, Any] = {"messages": MESSAGES}
    for model, most in (("talk", 128), ("gpt", 64 - len(PROMPT))):
        reply = http.post("/v1/chat/completions", json={**body, "model": model})
        assert reply.json()["usage"]["completion_tokens"] == most
    long = [{"role": "user", "content": "x" * 60}]
    for fields in ({}, {"max_completion_tokens": 30}):
        refused = http.post("/v1/chat/completions", json={"model": "gpt", "messages": long, **fields})
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "context_length_exceeded")
    cut = {"model": "gpt", "messages": long, "truncate_prompt_tokens": -1}
    usage = http.post("/v1/chat/completions", json=cut).json()["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (48, 16)  # a quarter is left for the answer
    assert prompt_of(engine)[0].endswith("x\nassistant:")
    usage = http.post("/v1/chat/completions", json={**cut, "max_completion_tokens": 4}).json()["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (60, 4)


def test_a_limit_above_the_context_is_named_as_it_was_sent(http: httpx.Client, shelf: Shelf) -> None:
    shelf.generator("gpt", architecture="transformer", heads=2, chat_template=TEMPLATE)
    for name in ("max_tokens", "max_completion_tokens"):
        body = {"model": "gpt", "messages": MESSAGES, name: 60}
        error = http.post("/v1/chat/completions", json=body).json()["error"]
        assert error["param"] == name and f"{name} is 60" in error["message"]


REFUSALS: list[tuple[dict[str, Any], str, str]] = [
    ({"messages": []}, "messages", "messages must have at least 1 item"),
    ({"messages": [{"role": "user", "content": ""}] * 2049}, "messages", "must have at most 2,048 items"),
    ({"messages": [{"role": "tool", "content": "1"}]}, "messages[0].role", "must be system, developer, user or"),
    ({"messages": [{"role": "user"}]}, "messages[0].content", "is missing"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}]},
     "messages[0].content[0].type", "'image_url', which is not supported"),
    ({"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]},
     "messages[0].content[0].type", "'input_audio'"),
    ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text", "is missing"),
    ({"messages": [*MESSAGES, {"role": "assistant", "tool_calls": [{"id": "1"}]}]},
     "messages[1].tool_calls", "not supported"),
    ({"messages": [{"role": "user", "content": "a", "audio": {}}]}, "messages[0].audio", "must be null, not an object"),
    ({"messages": [*MESSAGES, {"role": "tool", "tool_call_id": "call_1", "content": "21"}]}, "messages[1].role",
     "'tool', which is not supported; it must be system, developer, user or"),
    ({"messages": [{"role": "user", "content": "a", "tool_call_id": "call_1"}]}, "messages[0].tool_call_id",
     "not supported; leave it out"),
    ({"messages": [{"role": "user", "text": "a"}]}, "messages[0].text", "unknown field"),
    ({"tools": [{"type": "function"}]}, "tools", "tools is not supported"),
    ({"functions": [{"name": "f"}]}, "functions", "not supported"),
    ({"tool_choice": "required"}, "tool_choice", "not supported"),
    ({"modalities": ["text", "audio"]}, "modalities", "not supported"),
    ({"audio": {"voice": "alloy", "format": "wav"}}, "audio", "not supported"),
    ({"web_search_options": {}}, "web_search_options", "not supported"),
    ({"prediction": {"type": "content", "content": "a"}}, "prediction", "not supported"),
    ({"response_format": {"type": "json_object"}}, "response_format", "{'type': 'text'}"),
    ({"top_logprobs": 2}, "top_logprobs", "requires logprobs"),
    ({"logprobs": True, "top_logprobs": 21}, "top_logprobs", "of at most 20"),
    ({"stream_options": {"include_usage": True}}, "stream_options", "requires stream"),
    ({"max_completion_tokens": 7}, "max_tokens", "send only one of them"),
    ({"min_tokens": 9}, "min_tokens", "must not be greater"),
    ({"input": "hi"}, "input", "unknown field 'input'; send `messages`, or send the input to POST /v1/responses"),
    ({"prompt": "hi"}, "prompt", "unknown field 'prompt'; send `messages`, or send the prompt to POST /v1/completions"),
    ({"temprature": 1}, "temprature", "did you mean 'temperature'?"),
    ({"model": "mood"}, "model", "is for classification"),
]  # fmt: skip


def test_what_is_refused_is_named(http: httpx.Client) -> None:
    for fields, param, words in REFUSALS:
        reply = ask(http, **fields)
        error = reply.json()["error"]
        assert (reply.status_code, error["param"]) == (400, param), (fields, error)
        assert words in error["message"] and error["type"] == "invalid_request_error", (fields, error)


def test_what_changes_nothing_is_accepted(http: httpx.Client) -> None:
    neutral = {
        "user": "me", "metadata": {"a": "b"}, "store": True, "service_tier": "flex", "safety_identifier": "x",
        "prompt_cache_key": "k", "verbosity": "low", "reasoning_effort": "high", "parallel_tool_calls": True,
        "tools": [], "tool_choice": "auto", "functions": None, "modalities": ["text"], "audio": None,
        "response_format": {"type": "text"}, "stop": None, "logit_bias": None, "seed": None, "n": None,
        "max_completion_tokens": 6, "top_logprobs": 0, "best_of": 1, "add_generation_prompt": True,
    }  # fmt: skip
    reply = ask(http, **neutral)
    assert reply.status_code == 200, reply.text
    assert reply.json()["choices"][0]["message"]["content"] == "user: "


def test_sampling_fields_reach_the_engine(http: httpx.Client, engine: FakeEngine) -> None:
    ask(http, temperature=0.5, top_p=0.9, top_k=7, min_p=0.1, seed=-1, presence_penalty=1, logit_bias={"5": 2})
    message = engine.wait_for(wire.Generate)[-1]
    assert isinstance(message, wire.Generate)
    params = message.params
    assert (params.temperature, params.top_p, params.top_k, params.min_p) == (0.5, 0.9, 7, 0.1)
    assert (params.seed, params.presence_penalty, params.logit_bias) == (2**63 - 1, 1.0, {5: 2.0})


def test_a_version_without_a_chat_template(http: httpx.Client, shelf: Shelf) -> None:
    error = ask(http, model="plain").json()["error"]
    assert (error["code"], error["param"]) == ("no_chat_template", "model")
    assert "POST /v1/completions" in error["message"] and "OSTINATO_CHAT_FALLBACK=1" in error["message"]
    shelf.generator("foreign", chat_template="{{ messages }}")
    error = ask(http, model="foreign").json()["error"]
    assert (error["code"], error["param"]) == ("unsupported_chat_template", "model")


def test_with_the_fallback_every_language_model_answers(settings: Settings, data_dir: object, shelf: Shelf) -> None:
    import msgspec

    shelf.generator("plain")
    changed = msgspec.structs.replace(settings, chat_fallback=True)
    with engine_of(changed) as engine, Api(changed) as api:
        api.wait_ready()
        with api.client() as http:
            assert ask(http, model="plain").json()["choices"][0]["message"]["content"] == "user: "
        assert prompt_of(engine)[0] == PROMPT


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_frees_its_slot(api: Api, http: httpx.Client, engine: FakeEngine, stream: bool) -> None:
    engine.hold_after = 2
    body = {"model": "talk", "messages": MESSAGES, "stream": stream, "n": 2}
    leaver = leave_after_sending(api, "/v1/chat/completions", body)
    wait_until(lambda: engine.running == 2)
    leaver.close()
    wait_until(lambda: engine.running == 0)


def test_an_error_in_a_stream_is_an_event_before_done(http: httpx.Client, engine: FakeEngine) -> None:
    engine.hold_after = 2
    for limit in ("1000", "8000"):  # the longer one in case a slow machine has no first token after a second
        body = {"model": "talk", "messages": MESSAGES, "stream": True}
        reply = http.post("/v1/chat/completions", json=body, headers={"x-request-timeout-ms": limit})
        if reply.status_code == 200:
            break
    assert stream_error(reply)["code"] == "deadline_exceeded"


def test_openais_client_reads_the_stream(api: Api, http: httpx.Client) -> None:
    with openai.OpenAI(base_url=f"{api.url}/v1", api_key="none", max_retries=0) as client:
        stream = client.chat.completions.create(model="talk", messages=MESSAGES, max_tokens=6, stream=True)
        assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == "user: "
