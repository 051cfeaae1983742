"""OpenAI's client in conversations with trained models: chats and responses, streamed or not, sync and async."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletionChunk

from tests.api.clients import gauges
from tests.api.real import Real
from tests.clients.assistants import ANSWERS, NAMES, client_of, serving
from tests.serving import wait_until

Messages = list[Any]


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory, _sqlite_template: Path) -> Iterator[Real]:
    with serving(tmp_path_factory.mktemp("assistants"), _sqlite_template) as service:
        yield service


@pytest.fixture
def client(real: Real) -> Iterator[openai.OpenAI]:
    with client_of(real) as made:
        yield made


def asked(*questions: str) -> Messages:
    """A conversation in which every question except for the last one has an answer."""
    messages: Messages = []
    for question in questions:
        messages.append({"role": "user", "content": question})
        messages.append({"role": "assistant", "content": ANSWERS[question]})
    return messages[:-1]


def joined(chunks: list[ChatCompletionChunk], index: int = 0) -> str:
    deltas = [c.delta.content or "" for chunk in chunks for c in chunk.choices if c.index == index]
    return "".join(deltas)


@pytest.mark.parametrize("model", NAMES)
def test_what_was_learnt_is_answered(client: openai.OpenAI, model: str) -> None:
    for first in ANSWERS:
        for second in ANSWERS:
            for questions in ([second], [first, second]):
                reply = client.chat.completions.create(model=model, messages=asked(*questions), temperature=0)
                choice = reply.choices[0]
                assert (choice.message.content, choice.finish_reason) == (ANSWERS[second], "stop"), questions
                assert choice.message.role == "assistant"


@pytest.mark.parametrize("model", NAMES)
@pytest.mark.parametrize("stop", [None, ["er T"], [" 緑茶"], ["茶.", "zz"], [" "]], ids=str)
def test_a_stream_joins_to_the_whole_answer(client: openai.OpenAI, model: str, stop: list[str] | None) -> None:
    options: dict[str, Any] = {"model": model, "messages": asked("drink?"), "temperature": 0, "stop": stop}
    whole = client.chat.completions.create(**options).choices[0].message.content
    text = ANSWERS["drink?"]
    assert whole == (text.partition(stop[0])[0] if stop else text)
    chunks = list(client.chat.completions.create(**options, stream=True))
    assert joined(chunks) == whole
    assert chunks[0].choices[0].delta.role == "assistant" and chunks[-1].choices[0].finish_reason == "stop"
    assert not any("\ufffd" in joined([chunk]) for chunk in chunks)


@pytest.mark.parametrize("model", NAMES)
def test_log_probabilities_belong_to_the_tokens_of_the_answer(client: openai.OpenAI, model: str) -> None:
    options: dict[str, Any] = {"model": model, "messages": asked("drink?"), "temperature": 0, "logprobs": True}
    reply = client.chat.completions.create(**options, top_logprobs=3)
    assert reply.choices[0].logprobs is not None and reply.choices[0].logprobs.content is not None
    tokens = reply.choices[0].logprobs.content
    assert bytes(b for token in tokens for b in token.bytes or ()).decode() == f" {ANSWERS['drink?']}"
    for token in tokens:
        assert len(token.top_logprobs) == 3 and token.top_logprobs[0].token == token.token
        assert token.logprob == pytest.approx(token.top_logprobs[0].logprob)
    chunks = list(client.chat.completions.create(**options, top_logprobs=3, stream=True))
    sent = [token for c in chunks if (logprobs := c.choices[0].logprobs) for token in logprobs.content or ()]
    assert [token.token for token in sent] == [token.token for token in tokens]
    assert reply.usage is not None and reply.usage.completion_tokens == len(tokens) + 1  # and the end token


@pytest.mark.parametrize("model", NAMES)
def test_a_seed_repeats_sampled_answers(client: openai.OpenAI, model: str) -> None:
    options: dict[str, Any] = {
        "model": model,
        "messages": asked("name?"),
        "temperature": 3,
        "max_completion_tokens": 12,
    }

    def sample(seed: int) -> list[str | None]:
        reply = client.chat.completions.create(**options, seed=seed, n=3)
        assert [choice.index for choice in reply.choices] == [0, 1, 2]
        return [choice.message.content for choice in reply.choices]

    texts = sample(1)
    assert texts == sample(1) != sample(2) and len(set(texts)) > 1
    usage = {"include_usage": True}
    chunks = list(client.chat.completions.create(**options, seed=1, n=3, stream=True, stream_options=usage))
    assert [joined(chunks, index) for index in range(3)] == texts
    assert chunks[-1].usage is not None and 3 < chunks[-1].usage.completion_tokens <= 36


def test_the_async_client_streams_several_answers_at_once(real: Real) -> None:
    async def answer(client: openai.AsyncOpenAI, model: str, question: str) -> str:
        options: dict[str, Any] = {"model": model, "messages": asked(question), "temperature": 0}
        stream = await client.chat.completions.create(**options, stream=True)
        text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
        whole = await client.chat.completions.create(**options)
        assert whole.choices[0].message.content == text
        return text

    async def all_answers() -> list[str]:
        url = f"{real.api.url}/v1"
        async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:
            return await asyncio.gather(*(answer(client, m, q) for m in NAMES for q in ANSWERS))

    assert asyncio.run(all_answers()) == [*ANSWERS.values()] * len(NAMES)


def test_content_parts_and_a_reply_that_is_sent_back(client: openai.OpenAI) -> None:
    first = client.chat.completions.create(model="lstm", messages=asked("city?"), temperature=0)
    parts = [{"type": "text", "text": "name?"}]
    messages: Messages = [*asked("city?"), first.choices[0].message, {"role": "user", "content": parts}]
    second = client.chat.completions.create(model="lstm", messages=messages, temperature=0)
    assert second.choices[0].message.content == ANSWERS["name?"]


@pytest.mark.parametrize("model", NAMES)
def test_responses_answer_what_was_learnt(client: openai.OpenAI, model: str) -> None:
    for question, answer in ANSWERS.items():
        reply = client.responses.create(model=model, input=question, temperature=0)
        assert (reply.output_text, reply.status, reply.store) == (answer, "completed", False)
        earlier: Messages = [*asked("city?"), *reply.output, {"role": "user", "content": question}]
        again = client.responses.create(model=model, input=earlier, temperature=0)
        assert again.output_text == answer and again.usage is not None and reply.usage is not None
        assert again.usage.input_tokens > reply.usage.input_tokens > 0
        with client.responses.stream(model=model, input=question, temperature=0) as stream:
            deltas = [event.delta for event in stream if event.type == "response.output_text.delta"]
            final = stream.get_final_response()
        assert "".join(deltas) == final.output_text == answer
        assert not any("\ufffd" in delta for delta in deltas)
        assert final.usage is not None and final.usage.output_tokens == reply.usage.output_tokens


@pytest.mark.parametrize("model", NAMES)
def test_the_log_probabilities_of_responses_are_those_of_chats(client: openai.OpenAI, model: str) -> None:
    chat: Any = client.chat.completions.create(
        model=model, messages=asked("drink?"), temperature=0, logprobs=True, top_logprobs=2
    )
    response: Any = client.responses.create(
        model=model, input="drink?", temperature=0, top_logprobs=2, include=["message.output_text.logprobs"]
    )
    tokens, others = chat.choices[0].logprobs.content, response.output[0].content[0].logprobs
    assert [(t.token, t.bytes) for t in tokens] == [(t.token, t.bytes) for t in others]
    assert [t.logprob for t in tokens] == pytest.approx([t.logprob for t in others], abs=1e-3)


def test_the_async_client_streams_responses(real: Real) -> None:
    async def answer(client: openai.AsyncOpenAI, model: str, question: str) -> str:
        stream = await client.responses.create(model=model, input=question, temperature=0, stream=True)
        events = [event async for event in stream]
        assert events[-1].type == "response.completed"
        assert [event.sequence_number for event in events] == list(range(len(events)))
        return "".join(event.delta for event in events if event.type == "response.output_text.delta")

    async def all_answers() -> list[str]:
        url = f"{real.api.url}/v1"
        async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:
            return await asyncio.gather(*(answer(client, m, q) for m in NAMES for q in ANSWERS))

    assert asyncio.run(all_answers()) == [*ANSWERS.values()] * len(NAMES)


def test_a_limit_leaves_a_response_incomplete(client: openai.OpenAI) -> None:
    reply = client.responses.create(model="transformer", input="drink?", temperature=0, max_output_tokens=5)
    assert (reply.status, reply.output_text) == ("incomplete", "Grü")  # a byte is a token; the first is a space
    assert reply.incomplete_details is not None and reply.incomplete_details.reason == "max_output_tokens"


def test_errors_have_the_types_of_the_client(client: openai.OpenAI) -> None:
    ask: Any = client.chat.completions.create
    with pytest.raises(openai.NotFoundError):
        ask(model="nobody", messages=asked("name?"))
    with pytest.raises(openai.BadRequestError, match="has no chat template") as refused:
        ask(model="plain", messages=asked("name?"))
    assert refused.value.code == "no_chat_template"
    for field, value in {"tools": [{"type": "function", "function": {"name": "f"}}], "audio": {"voice": "a"}}.items():
        with pytest.raises(openai.BadRequestError, match=f"{field} is not supported") as refused:
            ask(model="lstm", messages=asked("name?"), stream=True, **{field: value})
        assert refused.value.param == field
    for stored in ({"previous_response_id": "resp_1"}, {"store": True}, {"background": True}):
        with pytest.raises(openai.BadRequestError, match="because responses are not stored"):
            client.responses.create(model="lstm", input="name?", **stored)  # type: ignore[call-overload]
    with pytest.raises(openai.NotFoundError, match="are not stored"):
        client.responses.retrieve("resp_1")


def test_a_client_that_leaves_a_stream_frees_its_slot(real: Real, client: openai.OpenAI) -> None:
    endless: dict[str, Any] = {"ignore_eos": True, "min_tokens": 100_000}
    stream = client.chat.completions.create(
        model="lstm", messages=asked("name?"), stream=True, max_completion_tokens=100_000, extra_body=endless
    )
    assert next(iter(stream)).choices
    with real.api.client() as http:
        wait_until(lambda: gauges(http) == (1, 0))
    stream.close()
    with real.api.client() as http:
        wait_until(lambda: gauges(http) == (0, 0))
