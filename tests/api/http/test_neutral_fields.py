"""Fields of other servers: neutral values and synonyms are accepted, and errors name fields with other values."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from app.api.http import neutral_fields
from app.wire import engine as wire
from tests.fakes import FakeEngine
from tests.serving import Api, Shelf

PATHS = {"/v1/completions": "prompt", "/v1/embeddings": "input", "/v1/classify": "input"}
VLLM_DEFAULTS = {
    "use_beam_search": False, "length_penalty": 1.0, "early_stopping": False, "guided_json": None, "bad_words": [],
    "return_tokens_as_token_ids": False, "detokenize": True, "logits_processors": None, "priority": 0,
}  # fmt: skip
LLAMA_DEFAULTS = {
    "cache_prompt": True, "mirostat": 0, "mirostat_tau": 5.0, "tfs_z": 1.0, "id_slot": -1, "dry_multiplier": 0.0,
    "xtc_probability": 0.0, "n_keep": 0, "n_probs": 0, "grammar": "", "top_n_sigma": -1, "samplers": None,
    "dry_sequence_breakers": [], "n_indent": 0, "n_discard": 0, "return_tokens": False, "penalize_nl": False,
    "slot_id": -1, "image_data": [], "speculative.n_max": 0, "repeat_last_n": 64, "n_predict": -1, "logit_bias": [],
    "lora": [], "response_fields": [], "t_max_predict_ms": -1, "min_keep": 0, "post_sampling_probs": False,
}  # fmt: skip
OPENAI_DEFAULTS = {
    "store": False,
    "service_tier": "auto",
    "metadata": {"a": "b"},
    "safety_identifier": "u",
    "prompt_cache_key": "k",
    "reasoning_effort": None,
    "verbosity": None,
    "prediction": None,
    "web_search_options": None,
    "audio": None,
    "tools": [],
    "tool_choice": "none",
    "parallel_tool_calls": True,
    "modalities": ["text"],
    "functions": None,
}
COMPLETION_DEFAULTS = {"suffix": "", "structured_outputs": None, "mm_processor_kwargs": None}
EMBEDDING_DEFAULTS = {"input_type": None, "task": None, "prompt_name": None, "output_dtype": "float"}  # fmt: skip


@pytest.fixture
def post(api: Api, shelf: Shelf) -> Any:
    shelf.generator("echo")
    shelf.classifier("mood")

    def send(path: str, **fields: Any) -> httpx.Response:
        model = "mood" if path == "/v1/classify" else "echo"
        with api.client() as client:
            return client.post(path, json={"model": model, PATHS[path]: "abc", **fields})

    return send


@pytest.mark.parametrize("fields", [VLLM_DEFAULTS, LLAMA_DEFAULTS, OPENAI_DEFAULTS, COMPLETION_DEFAULTS])
def test_neutral_values_change_nothing(post: Any, fields: dict[str, Any]) -> None:
    plain, sent = post("/v1/completions").json(), post("/v1/completions", **fields)
    assert sent.status_code == 200, sent.text
    assert sent.json()["choices"] == plain["choices"]


@pytest.mark.parametrize("path", PATHS)
def test_openai_fields_are_accepted_on_every_route(post: Any, path: str) -> None:
    reply = post(path, **OPENAI_DEFAULTS)
    assert reply.status_code == 200, reply.text


def test_fields_of_other_embeddings_are_accepted(post: Any) -> None:
    reply = post("/v1/embeddings", **EMBEDDING_DEFAULTS)
    assert reply.status_code == 200, reply.text


@pytest.mark.parametrize(
    ("path", "field", "value"),
    [
        ("/v1/completions", "use_beam_search", True),
        ("/v1/completions", "length_penalty", 0.5),
        ("/v1/completions", "mirostat", 2),
        ("/v1/completions", "guided_regex", "a+"),
        ("/v1/completions", "store", True),
        ("/v1/completions", "grammar", "root ::= x"),
        ("/v1/embeddings", "service_tier", "flex"),
        ("/v1/embeddings", "normalize", False),
        ("/v1/completions", "suffix", "the end"),
        ("/v1/completions", "tools", [{"type": "function"}]),
        ("/v1/completions", "tool_choice", "required"),
        ("/v1/completions", "reasoning_effort", "high"),
        ("/v1/completions", "repeat_last_n", 5),
        ("/v1/completions", "top_n_sigma", 1.5),
        ("/v1/completions", "samplers", ["top_k"]),
        ("/v1/embeddings", "input_type", "query"),
        ("/v1/classify", "raw_scores", True),
        ("/v1/classify", "priority", 3),
    ],
)
def test_other_values_are_refused_by_name(post: Any, path: str, field: str, value: Any) -> None:
    reply = post(path, **{field: value})
    error = reply.json()["error"]
    assert (reply.status_code, error["code"], error["param"]) == (400, "unknown_field", field), error
    assert error["message"].startswith(f"{field} is not supported; leave it out, or send null")


@pytest.mark.parametrize(
    ("field", "value", "ours"),
    [
        ("max_completion_tokens", 3, {"max_tokens": 3}),
        ("n_predict", 2, {"max_tokens": 2}),
        ("max_new_tokens", 4, {"max_tokens": 4}),
        ("repeat_penalty", 1.5, {"repetition_penalty": 1.5}),
    ],
)
def test_synonyms_are_honoured(post: Any, engine: FakeEngine, field: str, value: float, ours: dict[str, float]) -> None:
    assert post("/v1/completions", **{field: value}).status_code == 200
    [message] = engine.wait_for(wire.Generate)
    assert isinstance(message, wire.Generate)
    assert {name: getattr(message.params, name) for name in ours} == ours


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"max_tokens": 3, "max_completion_tokens": 4}, "max_completion_tokens"),
        ({"n_predict": 3, "max_tokens": 4}, "max_tokens"),
        ({"n_predict": 3, "max_new_tokens": 4}, "max_new_tokens"),
        ({"repeat_penalty": 1.5, "repetition_penalty": 1.0}, "repetition_penalty"),
    ],
)
def test_synonyms_that_disagree_are_refused(post: Any, fields: dict[str, Any], param: str) -> None:
    reply = post("/v1/completions", **fields)
    error = reply.json()["error"]
    assert (reply.status_code, error["param"]) == (400, param)
    assert "send only one of them" in error["message"]


def test_synonyms_that_agree_or_are_null_are_accepted(post: Any) -> None:
    assert post("/v1/completions", max_tokens=3, max_completion_tokens=3).status_code == 200
    assert post("/v1/completions", max_tokens=None, n_predict=3).status_code == 200
    assert post("/v1/completions", n_predict=3, max_tokens=None).status_code == 200


def test_unknown_fields_and_bad_values_are_refused_as_before(api: Api, post: Any) -> None:
    error = post("/v1/completions", use_beam_search=False, temprature=1).json()["error"]
    assert error["code"] == "unknown_field" and "did you mean 'temperature'?" in error["message"]
    error = post("/v1/completions", n_predict="many").json()["error"]
    assert (error["code"], error["param"]) == ("invalid_request", "n_predict")
    with api.client() as client:
        headers = {"content-type": "application/json"}
        for body in (b'{"store": false, ', b'{"store": false, "prompt": "\xff"}'):
            reply = client.post("/v1/completions", content=body, headers=headers)
            assert (reply.status_code, reply.json()["error"]["code"]) == (400, "invalid_json"), reply.text


@pytest.mark.parametrize(
    ("fields", "param", "message"),
    [
        ({"n_predict": -2}, "n_predict", "n_predict must be an integer of at least 0"),
        ({"num_predict": "many"}, "num_predict", "num_predict must be an integer, not a string"),
        ({"max_new_tokens": 0}, "max_new_tokens", "max_new_tokens must be 1 or more; 0 is allowed only with echo"),
        ({"max_completion_tokens": 3, "min_tokens": 4}, "min_tokens", "min_tokens must not be greater than"
         " max_completion_tokens"),
        ({"repeat_penalty": -1}, "repeat_penalty", "repeat_penalty must be a number above 0"),
        ({"stop_sequences": [""]}, "stop_sequences[0]", "stop_sequences[0] must have at least 1 character"),
    ],
)  # fmt: skip
def test_errors_name_the_field_that_was_sent(post: Any, fields: dict[str, Any], param: str, message: str) -> None:
    error = post("/v1/completions", **fields).json()["error"]
    assert (error["param"], error["message"]) == (param, message)


def test_no_neutral_field_hides_one_of_ours() -> None:
    from app.api.openai.chat_schemas import ChatRequest
    from app.api.openai.completions_schemas import CompletionRequest
    from app.api.openai.responses_schemas import ResponseRequest

    kinds = {"COMPLETIONS": CompletionRequest, "CHAT": ChatRequest, "RESPONSES": ResponseRequest}
    for name, kind in kinds.items():
        others = getattr(neutral_fields, name)
        assert not set(others.synonyms) & set(kind.__struct_fields__)
        assert set(others.synonyms.values()) <= set(kind.__struct_fields__)
