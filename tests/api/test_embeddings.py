from __future__ import annotations

from typing import Any

import pytest

from tests.serving import Api, Shelf, byte_tokenizer

MODEL = {"model": "echo"}
BAD: list[tuple[dict[str, Any], int, str, str | None]] = [
    ({"model": "nobody", "input": "a"}, 404, "model_not_found", "model"),
    ({"input": "a"}, 400, "model_missing", "model"),
    ({"model": "waves", "input": "a"}, 400, "invalid_request", None),
    ({**MODEL, "input": ""}, 400, "invalid_request", "input"),
    ({**MODEL, "input": []}, 400, "invalid_request", "input"),
    ({**MODEL, "input": ["a", ""]}, 400, "invalid_request", "input[1]"),
    ({**MODEL, "input": [[]]}, 400, "invalid_request", "input[0]"),
    ({**MODEL, "input": ["a", [1]]}, 400, "invalid_request", "input"),
    ({**MODEL, "input": [-1]}, 400, "invalid_request", "input"),
    ({**MODEL, "input": [10**6]}, 400, "invalid_request", "input"),
    ({**MODEL, "input": ["x"] * 1025}, 400, "invalid_request", "input"),
    ({**MODEL, "input": "x" * 65}, 400, "context_length_exceeded", "input"),
    ({**MODEL, "input": [1] * 65}, 400, "context_length_exceeded", "input"),
    ({**MODEL, "input": "a", "truncate_prompt_tokens": 65}, 400, "invalid_request", "truncate_prompt_tokens"),
    ({**MODEL, "input": "a", "dimensions": 0}, 400, "invalid_request", "dimensions"),
    ({**MODEL, "input": "a", "dimensions": 10**6}, 400, "invalid_request", "dimensions"),
    ({**MODEL, "input": "a", "encoding_format": "hex"}, 400, "invalid_request", "encoding_format"),
    ({**MODEL, "input": "a", "inputs": "b"}, 400, "unknown_field", "inputs"),
    ({**MODEL, "input": [[1.5]]}, 400, "invalid_request", "input[0][0]"),
    (MODEL, 400, "invalid_request", "input"),
]


@pytest.fixture
def models(shelf: Shelf) -> None:
    shelf.generator()
    shelf.classifier("waves", input="features", features=2, vocab_size=0)


def test_bad_requests(api: Api, models: None) -> None:
    with api.client() as client:
        for body, status, code, param in BAD:
            reply = client.post("/v1/embeddings", json=body)
            error = reply.json()["error"]
            assert (reply.status_code, error["code"], error["param"]) == (status, code, param), (body, error)
        assert client.post("/v1/embeddings", json={**MODEL, "input": "a"}).status_code == 200


def test_what_is_too_long_is_cut_where_that_is_asked_for(api: Api, models: None) -> None:
    with api.client() as client:
        body = {**MODEL, "input": ["x" * 65, byte_tokenizer().encode("ab")], "truncate_prompt_tokens": -1}
        mixed = client.post("/v1/embeddings", json=body)
        assert mixed.status_code == 400 and "mixes" in mixed.json()["error"]["message"]
        body["input"] = ["x" * 65, "ab"]
        reply = client.post("/v1/embeddings", json=body)
    assert reply.status_code == 200 and reply.json()["usage"]["prompt_tokens"] == 66
    assert reply.headers["x-prompt-tokens"] == "66"
