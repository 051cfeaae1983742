"""`/v1/responses`: answers, streams, limits and rejected requests."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from app.tokenization.chat import TEMPLATE
from app.wire import engine as wire
from tests.api.clients import leave_after_sending
from tests.fakes import FakeEngine
from tests.serving import Api, Shelf, byte_tokenizer, wait_until

PROMPT = "user: ab\nassistant:"  # the fake engine repeats it
TYPES = [
    "response.created", "response.in_progress", "response.output_item.added", "response.content_part.added",
    "response.output_text.delta", "response.output_text.done", "response.content_part.done",
    "response.output_item.done", "response.incomplete",
]  # fmt: skip


@pytest.fixture
def http(api: Api, shelf: Shelf) -> Iterator[httpx.Client]:
    shelf.generator("talk", chat_template=TEMPLATE, context_length=128)
    shelf.generator("plain")
    with api.client() as client:
        yield client


def ask(http: httpx.Client, **fields: Any) -> httpx.Response:
    return http.post("/v1/responses", json={"model": "talk", "input": "ab", "max_output_tokens": 6, **fields})


def events(reply: httpx.Response) -> list[dict[str, Any]]:
    """The events of a stream. Checks that both types of an event are equal."""
    assert reply.status_code == 200, reply.text
    parsed = []
    for block in reply.text.removesuffix("\n\n").split("\n\n"):
        name, data = block.split("\n")
        parsed.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {parsed[-1]['type']}"
    assert [event["sequence_number"] for event in parsed] == list(range(len(parsed)))
    return parsed


def prompt_of(engine: FakeEngine) -> str:
    """The last prompt as text, in which `|` represents an end token."""
    message = engine.wait_for(wire.Generate)[-1]
    assert isinstance(message, wire.Generate)
    tokenizer = byte_tokenizer()
    return "".join("|" if i == tokenizer.eos_id else tokenizer.decode([i]) for i in message.prompt)


def test_a_whole_response(http: httpx.Client) -> None:
    reply = ask(http, instructions=None, metadata={"a": "b"}, temperature=0.5, top_p=None)
    body = reply.json()
    [message] = body.pop("output")
    assert message == {
        "id": message["id"], "type": "message", "role": "assistant", "status": "incomplete",
        "content": [{"type": "output_text", "text": "user: ", "annotations": [], "logprobs": []}],
    }  # fmt: skip
    assert body["id"].startswith("resp_") and message["id"].startswith("msg_")
    assert (body["object"], body["model"], body["status"], body["error"]) == ("response", "talk", "incomplete", None)
    assert body["incomplete_details"] == {"reason": "max_output_tokens"}
    assert body["usage"] == {
        "input_tokens": len(PROMPT), "output_tokens": 6, "total_tokens": len(PROMPT) + 6,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": 0},
    }  # fmt: skip
    assert (body["metadata"], body["temperature"], body["top_p"], body["store"]) == ({"a": "b"}, 0.5, 1.0, False)
    assert reply.headers["x-model-version"] == "talk:1" and reply.headers["x-generated-tokens"] == "6"


def test_an_answer_that_ends_is_complete(http: httpx.Client, engine: FakeEngine) -> None:
    engine.eos = byte_tokenizer().encode(":")[0]
    body = ask(http).json()
    assert (body["status"], body["incomplete_details"]) == ("completed", None)
    assert body["output"][0]["status"] == "completed" and body["output"][0]["content"][0]["text"] == "user"
    assert events(ask(http, stream=True))[-1]["type"] == "response.completed"


def test_a_conversation_is_read_as_in_training(http: httpx.Client, engine: FakeEngine) -> None:
    items = [
        {"role": "user", "content": [{"type": "input_text", "text": "Hi"}, {"type": "input_text", "text": "there"}]},
        {
            "id": "msg_1", "type": "message", "role": "assistant", "status": "completed",
            "content": [{"type": "output_text", "text": "Ho", "annotations": [], "logprobs": []}],
        },
        {"type": "message", "role": "developer", "content": "Be loud."},
        {"role": "user", "content": "What?"},
    ]  # fmt: skip
    assert ask(http, input=items, instructions="Be brief.").status_code == 200
    first = "system: Be brief.\nuser: Hi\nthere\nassistant: Ho|"
    assert prompt_of(engine) == first + "\ndeveloper: Be loud.\nuser: What?\nassistant:"


def test_a_stream_joins_to_the_whole_answer(http: httpx.Client) -> None:
    fields = {"input": "grüße 世界\u2028", "max_output_tokens": 40}
    whole = ask(http, **fields).json()
    sent = events(ask(http, **fields, stream=True))
    deltas = [event for event in sent if event["type"] == "response.output_text.delta"]
    text = whole["output"][0]["content"][0]["text"]
    assert "".join(event["delta"] for event in deltas) == text and "世界\u2028" in text and len(deltas) > 20
    assert list(dict.fromkeys(event["type"] for event in sent)) == TYPES
    first, last = sent[0]["response"], sent[-1]["response"]
    message = last["output"][0]["id"]
    assert (first["status"], first["output"], first["usage"]) == ("in_progress", [], None)
    assert deltas[0] == {
        "type": "response.output_text.delta", "item_id": message, "output_index": 0, "content_index": 0, "delta": "u",
        "logprobs": [], "sequence_number": 4,
    }  # fmt: skip
    assert sent[-4]["text"] == sent[-3]["part"]["text"] == sent[-2]["item"]["content"][0]["text"] == text
    varied = {"id": first["id"], "created_at": first["created_at"]}
    expected = whole | varied | {"output": [whole["output"][0] | {"id": message}]}
    assert last == expected and sent[-2]["item"] == expected["output"][0]


@pytest.mark.parametrize("stream", [False, True])
def test_log_probabilities_are_reported_if_they_are_included(http: httpx.Client, stream: bool) -> None:
    fields = {"input": "é", "max_output_tokens": 8, "top_logprobs": 2, "stream": stream}
    reply = ask(http, **fields, include=["message.output_text.logprobs", "reasoning.encrypted_content"])
    if stream:
        sent = events(reply)
        tokens = [token for event in sent if "delta" in event for token in event["logprobs"]]
        assert tokens == sent[-1]["response"]["output"][0]["content"][0]["logprobs"] == sent[-4]["logprobs"]
    else:
        tokens = reply.json()["output"][0]["content"][0]["logprobs"]
        assert ask(http, top_logprobs=2).json()["output"][0]["content"][0]["logprobs"] == []
    assert bytes(byte for token in tokens for byte in token["bytes"]).decode() == "user: é"
    assert [top["token"] for top in tokens[0]["top_logprobs"]] == ["u", "v"]


def test_an_answer_without_a_limit_may_fill_the_context(http: httpx.Client, shelf: Shelf) -> None:
    shelf.generator("gpt", architecture="transformer", heads=2, chat_template=TEMPLATE)  # its context has 64 tokens
    body: dict[str, Any] = {"model": "gpt", "input": "ab"}
    assert http.post("/v1/responses", json=body).json()["usage"]["output_tokens"] == 64 - len(PROMPT)
    error = http.post("/v1/responses", json={**body, "max_output_tokens": 60}).json()["error"]
    assert error["param"] == "max_output_tokens" and "max_output_tokens is 60" in error["message"]
    body["input"] = "x" * 60
    error = http.post("/v1/responses", json=body).json()["error"]
    assert (error["code"], error["param"]) == ("context_length_exceeded", "input")
    assert "truncation: auto" in error["message"]
    usage = http.post("/v1/responses", json={**body, "truncation": "auto"}).json()["usage"]
    assert (usage["input_tokens"], usage["output_tokens"]) == (48, 16)


REFUSALS: list[tuple[dict[str, Any], str, str]] = [
    ({"input": []}, "input", "input must have at least 1 item"),
    ({"input": [{"role": "user", "content": ""}] * 2049}, "input", "must have at most 2,048 items"),
    ({"input": [{"content": "a"}]}, "input[0].role", "is missing"),
    ({"input": [{"role": "tool", "content": "a"}]}, "input[0].role", "must be system, developer, user or"),
    ({"input": [{"role": "user"}]}, "input[0].content", "is missing"),
    ({"input": [{"type": "function_call_output", "call_id": "1", "output": "2"}]}, "input[0].type", "only messages"),
    ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0].type", "'item_reference'"),
    ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "data:,"}]}]},
     "input[0].content[0].type", "'input_image', which is not supported"),
    ({"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]},
     "input[0].content[0].type", "'input_file'"),
    ({"previous_response_id": "resp_1"}, "previous_response_id", "because responses are not stored"),
    ({"conversation": {"id": "conv_1"}}, "conversation", "because responses are not stored"),
    ({"store": True}, "store", "because responses are not stored"),
    ({"background": True}, "background", "because responses are not stored"),
    ({"prompt": {"id": "pmpt_1"}}, "prompt", "not supported"),
    ({"tools": [{"type": "web_search"}]}, "tools", "tools is not supported"),
    ({"tool_choice": "required"}, "tool_choice", "not supported"),
    ({"text": {"format": {"type": "json_object"}}}, "text.format", "{'type': 'text'}"),
    ({"include": ["everything"]}, "include[0]", "everything"),
    ({"stream_options": {"include_obfuscation": False}}, "stream_options", "requires stream"),
    ({"stop": ["a"]}, "stop", "unknown field"),
    ({"n": 2}, "n", "unknown field"),
    ({"max_tokens": 2}, "max_tokens", "did you mean 'max_output_tokens'?"),
    ({"model": "plain"}, "model", "has no chat template"),
]  # fmt: skip


def test_what_is_refused_is_named(http: httpx.Client) -> None:
    for fields, param, words in REFUSALS:
        reply = ask(http, **fields)
        error = reply.json()["error"]
        assert (reply.status_code, error["param"]) == (400, param), (fields, error)
        assert words in error["message"] and error["type"] == "invalid_request_error", (fields, error)


def test_what_changes_nothing_is_accepted(http: httpx.Client) -> None:
    neutral = {
        "store": False, "background": False, "conversation": None, "previous_response_id": None, "prompt": None,
        "tools": [], "tool_choice": "auto", "parallel_tool_calls": True, "max_tool_calls": 3, "user": "me",
        "reasoning": {"effort": "low", "summary": "auto"}, "service_tier": "flex", "safety_identifier": "x",
        "text": {"format": {"type": "text"}, "verbosity": "low"}, "truncation": "disabled", "prompt_cache_key": "k",
        "include": ["reasoning.encrypted_content"], "metadata": None, "stream": False,
    }  # fmt: skip
    reply = ask(http, **neutral)
    assert reply.status_code == 200, reply.text
    assert reply.json()["output"][0]["content"][0]["text"] == "user: "


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_frees_its_slot(api: Api, http: httpx.Client, engine: FakeEngine, stream: bool) -> None:
    engine.hold_after = 2
    leaver = leave_after_sending(api, "/v1/responses", {"model": "talk", "input": "ab", "stream": stream})
    wait_until(lambda: engine.running == 1)
    leaver.close()
    wait_until(lambda: engine.running == 0)


def test_an_error_in_a_stream_ends_it_as_failed(http: httpx.Client, engine: FakeEngine) -> None:
    engine.hold_after = 2
    for limit in ("1000", "8000"):  # the longer one in case a slow machine has no first token after a second
        body = {"model": "talk", "input": "ab", "stream": True}
        reply = http.post("/v1/responses", json=body, headers={"x-request-timeout-ms": limit})
        if reply.status_code == 200:
            break
    last = events(reply)[-1]
    assert last["type"] == "response.failed" and last["response"]["status"] == "failed"
    error = last["response"]["error"]
    assert (error["code"], error["type"]) == ("server_error", "deadline_exceeded") and error["message"]
    assert last["response"]["output"][0]["content"][0]["text"] == "us"
