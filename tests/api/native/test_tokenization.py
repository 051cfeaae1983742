"""`/tokenize` and `/detokenize`."""

from __future__ import annotations

from typing import Any

import pytest

from tests.serving import Api, Shelf, byte_tokenizer


@pytest.mark.parametrize("text", ["Hi", "", "é 你好", "x" * 5000])
def test_a_text_and_its_tokens(api: Api, shelf: Shelf, text: str) -> None:
    shelf.generator("echo")
    ids = byte_tokenizer().encode(text)
    with api.client() as client:
        reply = client.post("/tokenize", json={"model": "echo", "prompt": text})
        assert reply.json() == {"count": len(ids), "max_model_len": 64, "tokens": ids, "token_strs": None}
        assert reply.headers["x-model-version"] == "echo:1"
        assert client.post("/detokenize", json={"model": "echo", "tokens": ids}).json() == {"prompt": text}


def test_the_text_of_each_token(api: Api, shelf: Shelf) -> None:
    shelf.generator("echo")
    with api.client() as client:
        body = {"model": "echo", "prompt": "Hi", "return_token_strs": True, "add_special_tokens": False}
        assert client.post("/tokenize", json=body).json()["token_strs"] == ["H", "i"]


@pytest.mark.parametrize(
    ("path", "body", "status", "param"),
    [
        ("/tokenize", {"model": "nobody", "prompt": "a"}, 404, "model"),
        ("/tokenize", {"model": "waves", "prompt": "a"}, 400, "model"),
        ("/tokenize", {"model": "echo"}, 400, "prompt"),
        ("/tokenize", {"prompt": "a"}, 400, "model"),
        ("/detokenize", {"model": "echo", "tokens": [10**6]}, 400, "tokens"),
        ("/detokenize", {"model": "echo", "tokens": [-1]}, 400, "tokens[0]"),
    ],
)
def test_refusals(api: Api, shelf: Shelf, path: str, body: dict[str, Any], status: int, param: str) -> None:
    shelf.generator("echo")
    shelf.classifier("waves", input="features", features=2, vocab_size=0)
    with api.client() as client:
        reply = client.post(path, json=body)
    assert (reply.status_code, reply.json()["error"]["param"]) == (status, param), reply.text


@pytest.mark.parametrize("inputs", ["é!", ["é!", "", "Hi"]])
def test_texts_in_the_format_of_tei(api: Api, shelf: Shelf, inputs: str | list[str]) -> None:
    shelf.generator("echo")
    with api.client() as client:
        reply = client.post("/tokenize", json={"model": "echo", "inputs": inputs})
    first, *others = reply.json()
    assert [(token["text"], token["start"], token["stop"]) for token in first] == [
        ("é", 0, 1),
        ("é", 0, 1),
        ("!", 1, 2),
    ]
    assert [token["id"] for token in first] == byte_tokenizer().encode("é!")
    assert not any(token["special"] for token in first)
    assert [[token["text"] for token in tokens] for tokens in others] == ([] if inputs == "é!" else [[], ["H", "i"]])


@pytest.mark.parametrize(
    ("body", "param"), [({}, "prompt"), ({"prompt": "a", "inputs": "b"}, "prompt"), ({"inputs": []}, "inputs")]
)
def test_one_kind_of_text_is_needed(api: Api, shelf: Shelf, body: dict[str, Any], param: str) -> None:
    shelf.generator("echo")
    with api.client() as client:
        reply = client.post("/tokenize", json={"model": "echo", **body})
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, param), reply.text
