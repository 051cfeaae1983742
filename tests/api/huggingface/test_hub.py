"""`/models/{model}`, with `huggingface_hub.InferenceClient`."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import numpy as np
import pytest
from huggingface_hub import AsyncInferenceClient, InferenceClient
from huggingface_hub.errors import HfHubHTTPError, ValidationError

from app.tokenization.chat import TEMPLATE
from tests.api.huggingface.conftest import Connect
from tests.fakes import FakeEngine
from tests.serving import LABELS, Api, Shelf, byte_tokenizer

PROMPT = "grüße 世界\u2028 "


def test_a_text_is_classified(api: Api, connect: Connect) -> None:
    with api.client() as client:
        item = client.post("/v1/classify", json={"model": "mood", "input": "good"}).json()["data"][0]
    expected = [(entry["label"], entry["score"]) for entry in item["scores"]]
    client_of_mood = connect("/models/mood")
    assert [(entry.label, entry.score) for entry in client_of_mood.text_classification("good")] == expected
    assert len(client_of_mood.text_classification("good", top_k=1)) == 1
    logits = client_of_mood.text_classification("good", function_to_apply="none")
    assert {entry.label for entry in logits} == set(LABELS) and sum(e.score for e in logits) != pytest.approx(1)


def test_several_inputs_pairs_and_numbers(api: Api, connect: Connect, shelf: Shelf) -> None:
    shelf.classifier("waves", input="features", features=2, vocab_size=None)
    with api.client() as client:
        several = client.post("/models/mood", json={"inputs": ["a", "b"]}).json()
        assert [len(entry) for entry in several] == [3, 3]
        pair = {"inputs": {"text": "it rains", "text_pair": "rain is falling"}}
        assert len(client.post("/models/mood", json=pair).json()[0]) == 3
        assert len(client.post("/models/waves", json={"inputs": [[[0.1, 0], [0.4, 0.05]]]}).json()[0]) == 3


@pytest.mark.parametrize(
    ("more", "expected", "reason"),
    [
        ({"max_new_tokens": 23}, "grüße 世界\u2028 grü\ufffd", "length"),
        ({"max_new_tokens": 40, "stop": ["界\u2028 grü"]}, "grüße 世界\u2028 grü", "stop_sequence"),
        ({"max_new_tokens": 30, "top_n_tokens": 2}, None, "length"),
    ],
    ids=["an incomplete character", "a stop string over several tokens", "alternatives"],
)
def test_the_tokens_of_a_stream_join_to_the_whole_text(
    connect: Connect, more: dict[str, Any], expected: str | None, reason: str
) -> None:
    client = connect("/models/echo")
    plain = client.text_generation(PROMPT, **more)
    whole = client.text_generation(PROMPT, details=True, **more)
    pieces = list(client.text_generation(PROMPT, stream=True, **more))
    detailed = list(client.text_generation(PROMPT, stream=True, details=True, **more))
    assert plain == whole.generated_text == "".join(pieces) == detailed[-1].generated_text
    assert expected in (None, plain)
    assert whole.details is not None and detailed[-1].details is not None
    assert whole.details.finish_reason == detailed[-1].details.finish_reason == reason
    assert len(whole.details.tokens) == len(detailed) == whole.details.generated_tokens
    assert [event.index for event in detailed] == list(range(1, len(detailed) + 1))
    assert all(event.generated_text is None for event in detailed[:-1])
    assert detailed[-1].details.input_length == len(PROMPT.encode())
    if more.get("top_n_tokens"):
        assert [len(tokens) for tokens in whole.details.top_tokens or ()] == [2] * 30
        assert all(len(event.top_tokens or ()) == 2 for event in detailed)


def test_an_end_token_is_special_and_not_part_of_the_text(connect: Connect, engine: FakeEngine) -> None:
    [[engine.eos]] = byte_tokenizer().encode_batch(["c"])
    client = connect("/models/echo")
    assert client.text_generation("abc", max_new_tokens=9) == "ab"
    assert "".join(client.text_generation("abc", max_new_tokens=9, stream=True)) == "ab"
    *_, last = client.text_generation("abc", max_new_tokens=9, stream=True, details=True)
    assert last.token.special and last.generated_text == "ab" and last.details is not None
    assert (last.details.finish_reason, last.details.generated_tokens) == ("eos_token", 3)
    [only] = client.text_generation("c", max_new_tokens=9, stream=True, details=True)
    assert only.token.special and only.generated_text == ""


def test_options_of_a_generation(connect: Connect, engine: FakeEngine) -> None:
    client = connect("/models/echo")
    whole = client.text_generation(
        "ab", details=True, decoder_input_details=True, best_of=2, max_new_tokens=3, temperature=0.5, top_k=4, seed=7,
        return_full_text=True, truncate=1,
    )  # fmt: skip
    assert whole.generated_text == "bbbb" and whole.details is not None and whole.details.seed == 7
    assert [(token.text, token.logprob) for token in whole.details.prefill] == [("b", None)]
    [other] = whole.details.best_of_sequences or ()
    assert other.generated_text == "bbbb" and other.tokens[0].logprob < whole.details.tokens[0].logprob
    assert "".join(client.text_generation("ab", max_new_tokens=2, stream=True)) == "ab"
    params = [message.params for message in engine.received if hasattr(message, "params")]
    assert (params[0].temperature, params[0].top_k, params[-1].temperature) == (0.5, 4, 0.0)  # greedy by default


def test_vectors_and_similarities(api: Api, connect: Connect) -> None:
    for path in ("/models/mood/pipeline/feature-extraction", "/models/mood?task=feature-extraction"):
        vectors = connect(path).feature_extraction(["good", "bad"], normalize=True, truncate=True)
        assert vectors.dtype == np.float32 and vectors.tolist() == [[1, 0, 0, 0]] * 2
    assert connect("/models/mood").sentence_similarity("good", ["fine", "bad"]) == [1.0, 1.0]
    assert connect("/models/echo").sentence_similarity("good", ["fine"]) == [1.0]
    with pytest.raises(HfHubHTTPError, match="unit length"):
        connect("/models/mood/pipeline/feature-extraction").feature_extraction("good", normalize=False)


def test_a_conversation_is_answered_under_the_path_of_the_model(api: Api, connect: Connect, shelf: Shelf) -> None:
    shelf.generator("talk", chat_template=TEMPLATE, context_length=128)
    messages = [{"role": "user", "content": "Grüße 世界?"}]
    for client, model in ((connect("/models/talk"), None), (InferenceClient(base_url=f"{api.url}/v1"), "talk")):
        whole = client.chat_completion(messages, model=model, max_tokens=20)
        chunks = list(client.chat_completion(messages, model=model, max_tokens=20, stream=True))
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        assert whole.choices[0].message.content == text and text.startswith("user: Grüße")


def test_the_asynchronous_client(api: Api, connect: Connect) -> None:
    connect("/")

    async def ask() -> tuple[int, str, int, list[float]]:
        async with AsyncInferenceClient(token="none", timeout=60) as client:
            labels = await client.text_classification("good", model=f"{api.url}/models/mood")
            stream = await client.text_generation("ab", model=f"{api.url}/models/echo", max_new_tokens=3, stream=True)
            text = "".join([piece async for piece in stream])
            path = f"{api.url}/models/mood/pipeline/feature-extraction"
            vectors = await client.feature_extraction("good", model=path)
            similar = await client.sentence_similarity("good", ["bad"], model=f"{api.url}/models/mood")
            return len(labels), text, vectors.shape[1], similar

    assert asyncio.run(ask()) == (3, "aba", 4, [1.0])


def test_errors_are_those_of_the_client(api: Api, connect: Connect, engine: FakeEngine) -> None:
    with pytest.raises(ValidationError, match="max_new_tokens"):
        connect("/models/echo").text_generation("a", max_new_tokens=10**9)
    with pytest.raises(HfHubHTTPError, match="nobody") as missing:
        connect("/models/nobody").text_classification("good")
    assert missing.value.response.status_code == 404
    with api.client() as client:
        unknown = client.post("/models/mood", json={"inputs": "a", "parameters": {"topk": 1}})
        assert unknown.status_code == 422 and "did you mean" in unknown.json()["error"]
        assert "one of text-classification" in client.post("/models/mood?task=x", json={"inputs": "a"}).json()["error"]
        engine.hold_after = 2
        body = {"inputs": "abc", "parameters": {"max_new_tokens": 9}, "stream": True}
        reply = client.post("/models/echo", json=body, headers={"x-request-timeout-ms": "1500"})
        last = reply.text.strip().splitlines()[-1]
        assert '"error_type":"generation"' in last and "time limit" in last


def test_the_default_model(api: Api, connect: Connect) -> None:
    connect("/")
    refused = httpx.post(f"{api.url}/", json={"inputs": "a"}, timeout=60)
    assert refused.status_code == 422 and "model is missing" in refused.json()["error"]
    assert len(httpx.post(f"{api.url}/?model=mood", json={"inputs": "a"}, timeout=60).json()[0]) == 3
