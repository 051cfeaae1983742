"""`/v1/completions`: text, stop strings, end tokens, and the length of prompts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import openai
import pytest

from app.wire import engine as wire
from tests.fakes import FakeEngine
from tests.serving import Api, Shelf, byte_tokenizer, wait_until

if TYPE_CHECKING:
    from tests.api.real import Real


def test_whole_completion(client: openai.OpenAI) -> None:
    reply = client.completions.create(model="echo", prompt="abc ", max_tokens=6, temperature=0)
    assert reply.choices[0].text == "abc ab"
    assert reply.choices[0].finish_reason == "length"
    assert reply.object == "text_completion" and reply.model == "echo" and reply.id.startswith("cmpl-")
    assert reply.usage is not None
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens, reply.usage.total_tokens) == (4, 6, 10)
    assert reply.usage.prompt_tokens_details.cached_tokens == 0  # type: ignore[union-attr]


def test_cached_tokens_count_once_for_all_choices_of_a_prompt(client: openai.OpenAI, engine: FakeEngine) -> None:
    engine.cached_tokens = [3, 2]
    reply = client.completions.create(model="echo", prompt=["abcd", "efgh"], max_tokens=3, n=2)
    assert reply.usage is not None and reply.usage.prompt_tokens == 8
    assert reply.usage.prompt_tokens_details.cached_tokens == 4  # type: ignore[union-attr]


def test_cached_tokens_are_known_although_a_stop_string_ends_the_text(
    client: openai.OpenAI, engine: FakeEngine
) -> None:
    engine.cached_tokens = [3]
    reply = client.completions.create(model="echo", prompt="abcd", max_tokens=9, stop="c")
    assert reply.choices[0].text == "ab" and reply.usage is not None
    assert reply.usage.prompt_tokens_details.cached_tokens == 3  # type: ignore[union-attr]


def test_the_cache_salt_reaches_the_engine(client: openai.OpenAI, engine: FakeEngine) -> None:
    client.completions.create(model="echo", prompt="ab", extra_body={"cache_salt": "mine"})
    client.completions.create(model="echo", prompt="ab")
    salts = [m.cache_salt for m in engine.wait_for(wire.Generate, 2) if isinstance(m, wire.Generate)]
    assert salts == ["mine", ""]


@pytest.mark.parametrize("stream", [False, True])
def test_a_stop_string_across_tokens(client: openai.OpenAI, engine: FakeEngine, stream: bool) -> None:
    arguments: dict[str, Any] = {"model": "echo", "prompt": "one END two ", "max_tokens": 40, "stop": ["END", "zzz"]}
    if stream:
        chunks = list(client.completions.create(**arguments, stream=True))
        text, last = "".join(c.choices[0].text for c in chunks), chunks[-1].choices[0]
    else:
        last = client.completions.create(**arguments).choices[0]
        text = last.text
    assert text == "one " and last.finish_reason == "stop" and last.stop_reason == "END"  # type: ignore[attr-defined]
    wait_until(lambda: engine.running == 0)  # the engine stops generating


def test_a_stop_string_may_stay_in_the_text(client: openai.OpenAI) -> None:
    extra = {"include_stop_str_in_output": True}
    reply = client.completions.create(model="echo", prompt="one END", max_tokens=40, stop="END", extra_body=extra)
    assert reply.choices[0].text == "one END"


def test_the_end_token_and_a_stop_token(client: openai.OpenAI, engine: FakeEngine) -> None:
    ids = byte_tokenizer().encode("ab.")
    reply = client.completions.create(model="echo", prompt=ids, max_tokens=9, extra_body={"stop_token_ids": [ids[2]]})
    choice = reply.choices[0]
    assert (choice.text, choice.finish_reason, choice.stop_reason) == ("ab", "stop", ids[2])  # type: ignore[attr-defined]
    engine.eos = ids[1]
    choice = client.completions.create(model="echo", prompt=ids, max_tokens=9).choices[0]
    assert (choice.text, choice.finish_reason, choice.stop_reason) == ("a", "stop", None)  # type: ignore[attr-defined]
    choice = client.completions.create(model="echo", prompt=ids, max_tokens=3, extra_body={"ignore_eos": True}).choices[
        0
    ]
    assert choice.text == "ab."


def test_prompts_that_are_too_long(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.completions.create(model="echo", prompt="x" * 65, max_tokens=2)
    assert refused.value.code == "context_length_exceeded" and refused.value.param == "prompt"
    reply = client.completions.create(
        model="echo", prompt="a" * 65 + "bc", max_tokens=3, extra_body={"truncate_prompt_tokens": 2}
    )
    assert reply.choices[0].text == "bcb" and reply.usage is not None and reply.usage.prompt_tokens == 2
    with pytest.raises(openai.BadRequestError) as refused:
        client.completions.create(model="echo", prompt="a", extra_body={"truncate_prompt_tokens": 65})
    assert refused.value.param == "truncate_prompt_tokens"


def test_a_prompt_truncated_to_the_context_leaves_room_for_max_tokens(client: openai.OpenAI, shelf: Shelf) -> None:
    shelf.generator("shared", architecture="transformer", heads=2)

    def prompt_tokens(model: str, max_tokens: int) -> int:
        options = {"max_tokens": max_tokens, "extra_body": {"truncate_prompt_tokens": -1}}
        usage = client.completions.create(model=model, prompt="a" * 100, **options).usage  # type: ignore[call-overload]
        return int(usage.prompt_tokens)

    assert (prompt_tokens("shared", 10), prompt_tokens("shared", 63), prompt_tokens("echo", 10)) == (54, 1, 64)
    with pytest.raises(openai.BadRequestError) as refused:
        prompt_tokens("shared", 64)
    assert refused.value.param == "max_tokens"


def test_prompt_and_continuation_share_a_transformers_context(api: Api, shelf: Shelf) -> None:
    shelf.generator("gpt", architecture="transformer", heads=2)
    with api.client() as http:
        reply = http.post("/v1/completions", json={"model": "gpt", "prompt": "a" * 60, "max_tokens": 5})
        assert reply.status_code == 400 and reply.json()["error"]["code"] == "context_length_exceeded"
        assert "set max_tokens to at most 4, or shorten the prompt" in reply.json()["error"]["message"]
        reply = http.post("/v1/completions", json={"model": "gpt", "prompt": "a" * 64, "max_tokens": 4})
        assert reply.status_code == 400 and reply.json()["error"]["message"].endswith("in total; shorten the prompt")
        reply = http.post("/v1/completions", json={"model": "gpt", "prompt": "a" * 60, "max_tokens": 4})
        assert reply.status_code == 200


@pytest.mark.parametrize("prompt", ["", [""], ["ab", ""]])
def test_an_empty_prompt_begins_a_text(real: Real, prompt: str | list[str]) -> None:
    """In training, each text follows the end token of another text, so generation starts after an end token."""
    real.serve("words")
    end = real.tokenizers["words"].eos_id
    with real.api.client() as client:
        body = {"model": "words", "prompt": prompt, "max_tokens": 4, "temperature": 0, "echo": True}
        reply = client.post("/v1/completions", json=body)
        assert reply.status_code == 200, reply.text
        same = client.post("/v1/completions", json={**body, "prompt": [end]}).json()["choices"][0]["text"]
    assert reply.json()["choices"][-1]["text"] == same
