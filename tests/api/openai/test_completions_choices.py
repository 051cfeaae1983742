"""`/v1/completions` with several prompts and choices, echo, and log-probabilities."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from app.api.openai.completions_choices import names_of
from app.tokenization.training import train
from app.wire import engine as wire
from tests.fakes import FakeEngine
from tests.serving import byte_tokenizer


def test_many_prompts_and_choices(client: openai.OpenAI) -> None:
    reply = client.completions.create(model="echo", prompt=["ab", "xyz"], n=2, max_tokens=4)
    assert [choice.index for choice in reply.choices] == [0, 1, 2, 3]
    assert [choice.text for choice in reply.choices] == ["abab", "abab", "xyzx", "xyzx"]
    assert reply.usage is not None and reply.usage.prompt_tokens == 5 and reply.usage.completion_tokens == 16
    texts = {0: "", 1: "", 2: "", 3: ""}
    for chunk in client.completions.create(model="echo", prompt=["ab", "xyz"], n=2, max_tokens=4, stream=True):
        texts[chunk.choices[0].index] += chunk.choices[0].text
    assert texts == {0: "abab", 1: "abab", 2: "xyzx", 3: "xyzx"}


def test_each_choice_has_its_own_noise(client: openai.OpenAI, engine: FakeEngine) -> None:
    client.completions.create(model="echo", prompt=["ab", "ab"], n=2, max_tokens=1)
    unseeded = [(m.params.seed, m.choice) for m in engine.received if type(m).__name__ == "Generate"]  # type: ignore[union-attr]
    assert len(set(unseeded)) == 4
    engine.received.clear()
    client.completions.create(model="echo", prompt="ab", n=2, max_tokens=1, seed=7)
    seeded = [(m.params.seed, m.choice) for m in engine.received if type(m).__name__ == "Generate"]  # type: ignore[union-attr]
    assert seeded == [(7, 0), (7, 1)]


def test_best_of_returns_n(client: openai.OpenAI, engine: FakeEngine) -> None:
    """Later choices of the fake engine are more likely."""
    reply = client.completions.create(model="echo", prompt="ab", n=2, best_of=4, max_tokens=2)
    assert len(engine.wait_for(wire.Generate, 4)) == 4
    assert len(reply.choices) == 2 and reply.choices[0].logprobs is None
    assert reply.usage is not None and reply.usage.completion_tokens == 8
    scored = client.completions.create(model="echo", prompt="ab", n=2, best_of=4, max_tokens=2, logprobs=0)
    first = [choice.logprobs.token_logprobs[0] for choice in scored.choices]  # type: ignore[union-attr,index]
    assert first == pytest.approx([-0.1 / 4, -0.1 / 3])


def test_tokens_with_the_same_text_have_different_names() -> None:
    """A character tokenizer has one token for the letter A and another for its byte."""
    tokenizer = train(["aAbB"], "char", 300)
    letter = tokenizer.encode("A")[0]
    byte = next(i for i in range(tokenizer.vocab_size) if i != letter and tokenizer.join([i]) == b"A")
    high = next(i for i in range(tokenizer.vocab_size) if tokenizer.join([i]) == b"\xf0")
    assert names_of([letter, byte, high], tokenizer) == ["A", f"token_id:{byte}", "bytes:\\xf0"]


def test_logprobs(client: openai.OpenAI) -> None:
    choice = client.completions.create(model="echo", prompt="abc", max_tokens=3, logprobs=2).choices[0]
    assert choice.logprobs is not None
    assert choice.logprobs.tokens == ["a", "b", "c"]
    assert choice.logprobs.token_logprobs == pytest.approx([-0.1] * 3)
    assert choice.logprobs.text_offset == [0, 1, 2]
    assert choice.logprobs.top_logprobs is not None and len(choice.logprobs.top_logprobs[0]) == 2
    none = client.completions.create(model="echo", prompt="abc", max_tokens=1, logprobs=0).choices[0]
    assert none.logprobs is not None and list((none.logprobs.top_logprobs or [])[0]) == ["a"]


def test_logprobs_of_a_stream_equal_those_of_the_whole_reply(client: openai.OpenAI) -> None:
    arguments: dict[str, Any] = {"model": "echo", "prompt": "abcd", "max_tokens": 6, "logprobs": 1, "echo": True}
    whole = client.completions.create(**arguments).choices[0]
    assert whole.text == "abcdabcdab" and whole.logprobs is not None
    assert whole.logprobs.tokens == list("abcdabcdab") and whole.logprobs.token_logprobs[0] is None  # type: ignore[index]
    tokens: list[str] = []
    offsets: list[int] = []
    text = ""
    for chunk in client.completions.create(**arguments, stream=True):
        text += chunk.choices[0].text
        if chunk.choices[0].logprobs:
            tokens += chunk.choices[0].logprobs.tokens or []
            offsets += chunk.choices[0].logprobs.text_offset or []
    assert text == whole.text and tokens == whole.logprobs.tokens and offsets == whole.logprobs.text_offset


def test_echo(client: openai.OpenAI) -> None:
    assert client.completions.create(model="echo", prompt="abc", max_tokens=2, echo=True).choices[0].text == "abcab"
    chunks = client.completions.create(model="echo", prompt=["ab", "cd"], max_tokens=1, echo=True, stream=True)
    texts = {0: "", 1: ""}
    for chunk in chunks:
        texts[chunk.choices[0].index] += chunk.choices[0].text
    assert texts == {0: "aba", 1: "cdc"}


def test_scoring_a_prompt(client: openai.OpenAI) -> None:
    choice = client.completions.create(model="echo", prompt="abc", max_tokens=0, echo=True, logprobs=1).choices[0]
    assert choice.text == "abc" and choice.logprobs is not None and choice.logprobs.tokens == ["a", "b", "c"]


def test_prompt_logprobs_and_token_ids(client: openai.OpenAI) -> None:
    ids = byte_tokenizer().encode("ab")
    extra = {"prompt_logprobs": 1, "return_token_ids": True}
    choice = client.completions.create(model="echo", prompt="ab", max_tokens=2, extra_body=extra).choices[0]
    report = choice.prompt_logprobs  # type: ignore[attr-defined]
    assert report[0] is None and report[1][str(ids[1])]["decoded_token"] == "b"
    assert choice.token_ids == ids and choice.prompt_token_ids == ids  # type: ignore[attr-defined]
