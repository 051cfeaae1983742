"""Requests to paths of OpenAI's API that this service does not have: the error names an alternative."""

from __future__ import annotations

import pytest

from tests.serving import Api


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/chat/completions", "did you mean '/v1/chat/completions'?"),
        ("/v1/chat/completions/", "did you mean '/v1/chat/completions'?"),
        ("/v1/chat/completions/chatcmpl-1", "not stored"),
        ("/v1/responses/resp_1", "not stored"),
        ("/v1/responses/compact", "not stored"),
        ("/responses", "did you mean '/v1/responses'?"),
        ("/completions", "did you mean '/v1/completions'?"),
        ("/embeddings", "did you mean '/v1/embeddings'?"),
        ("/v1/embeddings/", "did you mean '/v1/embeddings'?"),
        ("/v1/v1/models", "did you mean '/v1/models'?"),
        ("/completion", "llama.cpp's own route; send the text as `prompt` to POST /v1/completions"),
        ("/completion/", "POST /v1/completions"),
        ("/embedding", "POST /v1/embeddings"),
        ("/infill", "POST /v1/completions"),
        ("/apply-template", "POST /v1/chat/completions"),
        ("/props", "GET /v1/models"),
        ("/slots/0", "GET /v1/engine"),
        ("/lora-adapters", "--set adapter="),
        ("/v1/rerank", "POST /similarity"),
        ("/reranking", "POST /similarity"),
        ("/v1/reranking", "POST /similarity"),
        ("/v1/fine_tuning/checkpoints/ftckpt-1/permissions", "checkpoints have no permissions of their own"),
        ("/invocations", "POST /v1/classify"),
        ("/v1/fine_tuning/alpha/graders/run", "POST /v1/evaluations"),
        ("/nowhere", "/docs lists all routes"),
    ],
)
def test_a_path_without_a_route_is_told_what_to_call(api: Api, path: str, words: str) -> None:
    with api.client() as client:
        reply = client.post(path, json={"model": "a", "messages": []})
    error = reply.json()["error"]
    assert (reply.status_code, error["code"]) == (404, "route_not_found") and words in error["message"]
