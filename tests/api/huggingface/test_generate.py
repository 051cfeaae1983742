"""TGI's `/generate` and `/generate_stream`, in the exact format that its clients read."""

from __future__ import annotations

import json

import pytest

from tests.serving import Api, Shelf


@pytest.fixture(autouse=True)
def echo(shelf: Shelf) -> None:
    shelf.generator()
    shelf.classifier()


def test_one_reply_and_a_stream(api: Api) -> None:
    body = {"inputs": "ab", "parameters": {"max_new_tokens": 3, "details": True}}
    with api.client() as client:
        whole = client.post("/generate?model=echo", json=body)
        stream = client.post("/generate_stream", json=body, headers={"x-model": "echo"})
    assert whole.json()["generated_text"] == "aba" and whole.headers["x-generated-tokens"] == "3"
    assert [token["text"] for token in whole.json()["details"]["tokens"]] == ["a", "b", "a"]
    frames = stream.text.split("\n\n")
    assert frames.pop() == "" and all(frame.startswith("data: {") for frame in frames)
    events = [json.loads(frame.removeprefix("data: ")) for frame in frames]
    assert events[0] == {
        "index": 1,
        "token": {"id": events[0]["token"]["id"], "text": "a", "logprob": -0.1, "special": False},
        "generated_text": None,
        "details": None,
    }
    assert events[-1]["generated_text"] == "aba" and events[-1]["details"]["finish_reason"] == "length"


def test_refusals(api: Api) -> None:
    with api.client() as client:
        for parameters, words in (
            ({"watermark": True}, "watermark is not supported"),
            ({"best_of": 2}, "cannot be streamed"),
            ({"decoder_input_details": True}, "requires details"),
            ({"grammar": {"type": "json"}}, "grammar"),
        ):
            reply = client.post("/generate_stream?model=echo", json={"inputs": "a", "parameters": parameters})
            assert (reply.status_code, reply.json()["error_type"]) == (422, "validation")
            assert words in reply.json()["error"]
        wrong = client.post("/generate?model=mood", json={"inputs": "a"})
        assert wrong.status_code == 422 and "requires a language model" in wrong.json()["error"]
