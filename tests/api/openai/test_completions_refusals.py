"""Requests that `/v1/completions` rejects."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from tests.serving import Api

BAD: list[tuple[dict[str, Any], str]] = [
    ({"n": 10**9}, "n"),
    ({"n": 2, "best_of": 1}, "best_of"),
    ({"best_of": 10**9}, "best_of"),
    ({"max_tokens": 10**12}, "max_tokens"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"max_tokens": -1}, "max_tokens"),
    ({"max_tokens": "many"}, "max_tokens"),
    ({"stop": ["x"] * 17}, "stop"),
    ({"stop": "x" * 1025}, "stop"),
    ({"stop": ""}, "stop"),
    ({"logit_bias": {str(i): 1 for i in range(1025)}}, "logit_bias"),
    ({"logit_bias": {"1": 101}}, "logit_bias[...]"),
    ({"logit_bias": {"999999": 1}}, "logit_bias"),
    ({"stop_token_ids": [999999]}, "stop_token_ids"),
    ({"prompt": []}, "prompt"),
    ({"prompt": ["x"] * 2049}, "prompt"),
    ({"prompt": [-1]}, "prompt"),
    ({"prompt": [10**6]}, "prompt"),
    ({"prompt": [1, "x"]}, "prompt[0]"),
    ({"prompt": None}, "prompt"),
    ({"logprobs": 21}, "logprobs"),
    ({"temperature": 1e308}, "temperature"),
    ({"temperature": -1}, "temperature"),
    ({"top_p": 0}, "top_p"),
    ({"seed": 2**64}, "seed"),
    ({"stream_options": {"include_usage": True}}, "stream_options"),
    ({"stream": True, "best_of": 2}, "best_of"),
    ({"suffix": "x"}, "suffix"),
    ({"temprature": 1}, "temprature"),
    ({"priority": 3}, "priority"),
    ({"stream": True, "stream_options": {"include_usages": True}}, "stream_options.include_usages"),
]


def test_invalid_requests(api: Api, client: openai.OpenAI) -> None:
    with api.client() as http:
        for change, param in BAD:
            reply = http.post("/v1/completions", json={"model": "echo", "prompt": "ab", **change})
            assert reply.status_code == 400, (change, reply.text)
            error = reply.json()["error"]
            assert (error["param"], error["type"]) == (param, "invalid_request_error"), error
        assert http.post("/v1/completions", json={"model": "echo", "prompt": "ab"}).status_code == 200


def test_bodies_that_are_not_json(api: Api, client: openai.OpenAI) -> None:
    texts = ['{"model":"echo","prompt":"a","temperature":NaN}', '{"temperature":1e999}', "{", "[]", "", "[" * 100_000]
    texts.append('{"prompt":' + "[" * 100_000)
    with api.client() as http:
        for text in texts:
            reply = http.post("/v1/completions", content=text, headers={"content-type": "application/json"})
            assert reply.status_code == 400 and reply.json()["error"]["message"], text[:40]
        for content in (b"\xff", b'{"model": "echo", "prompt": "\xff"}', b'{"model": "echo", "prompt": "\\ud800"}'):
            assert http.post("/v1/completions", content=content).status_code == 400
        for kind in ("application/x-python-pickle", "application/vnd.bentoml+pickle", "text/plain"):
            reply = http.post("/v1/completions", content=b"{}", headers={"content-type": kind})
            assert reply.status_code == 415, kind


def test_an_unknown_field_is_answered_with_the_most_similar_one(api: Api, client: openai.OpenAI) -> None:
    with api.client() as http:
        reply = http.post("/v1/completions", json={"model": "echo", "prompt": "a", "max_token": 3})
    assert reply.json()["error"] == {
        "message": "unknown field 'max_token'; did you mean 'max_tokens'?",
        "type": "invalid_request_error",
        "param": "max_token",
        "code": "unknown_field",
    }
    with api.client() as http:
        inner = {"model": "echo", "prompt": "a", "stream": True, "stream_options": {"include_usag": True}}
        error = http.post("/v1/completions", json=inner).json()["error"]
    assert error["message"] == "unknown field 'stream_options.include_usag'; did you mean 'include_usage'?"
    assert error["param"] == "stream_options.include_usag"


def test_models_that_do_not_exist_or_do_not_generate(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        client.completions.create(model="nobody", prompt="a")
    assert missing.value.code == "model_not_found" and missing.value.request_id
    with pytest.raises(openai.BadRequestError) as wrong:
        client.completions.create(model="mood", prompt="a")
    assert wrong.value.code == "wrong_task"
