"""The `openai` package: chats, responses, completions, embeddings, moderations and decisions."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import openai
import pydantic
from calls import (
    ANSWER,
    CHATS,
    COMPLAINT,
    CRASH,
    MESSAGES,
    PROMPT,
    QUESTION,
    URL,
    Calls,
    answers,
    classified,
    floats,
    same_vectors,
)
from openai_client import client

calls = Calls("openai")


def chat(model: str, **options: Any) -> Any:
    return client.chat.completions.create(model=model, messages=MESSAGES, temperature=0, **options)


def joined(model: str, **options: Any) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in chat(model, stream=True, **options))


def streamed_response(model: str) -> str:
    events = client.responses.create(model=model, input=QUESTION, temperature=0, stream=True)
    return "".join(event.delta for event in events if event.type == "response.output_text.delta")


def completion(model: str, **options: Any) -> Any:
    return client.completions.create(model=model, prompt=PROMPT, temperature=0, max_tokens=40, **options)


def chat_events(model: str) -> str:
    with client.chat.completions.stream(model=model, messages=MESSAGES, temperature=0) as stream:
        return "".join(event.delta for event in stream if event.type == "content.delta")


def response_events(model: str) -> tuple[str, str]:
    """Return the text joined from the events of a stream, and the text of its last event."""
    with client.responses.stream(model=model, input=QUESTION, temperature=0) as stream:
        deltas = [event.delta for event in stream if event.type == "response.output_text.delta"]
        return "".join(deltas), stream.get_final_response().output_text


async def asynchronous(model: str) -> tuple[list[str], list[float]]:
    """Return four texts, and a vector."""
    async with openai.AsyncOpenAI(base_url=f"{URL}/v1", api_key="none", max_retries=0) as other:
        asked: dict[str, Any] = {"model": model, "messages": MESSAGES, "temperature": 0}
        text: dict[str, Any] = {"model": model, "prompt": PROMPT, "temperature": 0, "max_tokens": 40}
        whole = await other.chat.completions.create(**asked)
        chunks = [chunk async for chunk in await other.chat.completions.create(**asked, stream=True)]
        response = await other.responses.create(model=model, input=QUESTION, temperature=0)
        completed = await other.completions.create(**text)
        vectors = await other.embeddings.create(model="departments", input=COMPLAINT)
    joined = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    texts = [whole.choices[0].message.content or "", joined, response.output_text, completed.choices[0].text]
    return texts, vectors.data[0].embedding


for model in CHATS:
    calls.works(
        f"AsyncOpenAI: chat with and without streaming, responses, completions, embeddings ({model})",
        lambda m=model: asyncio.run(asynchronous(m)),
        lambda pair: len(pair[0]) == 4 and all(map(answers, pair[0])) and same_vectors([pair[1]], COMPLAINT),
    )
    calls.works(f"chat.completions.create ({model})", lambda m=model: chat(m).choices[0].message.content, answers)
    calls.works(f"chat.completions.create, stream ({model})", lambda m=model: joined(m), answers)
    calls.works(
        f"chat.completions.create, stop across tokens ({model})",
        lambda m=model: (joined(m, stop=["er T"]), chat(m, stop=["er T"]).choices[0].message.content),
        lambda pair: pair == ("Grün", "Grün"),
    )
    calls.works(
        f"responses.create ({model})",
        lambda m=model: client.responses.create(model=m, input=QUESTION, temperature=0).output_text,
        answers,
    )
    calls.works(f"responses.create, stream ({model})", lambda m=model: streamed_response(m), answers)
    calls.works(f"completions.create ({model})", lambda m=model: completion(m).choices[0].text, answers)
    calls.works(
        f"completions.create, stream ({model})",
        lambda m=model: "".join(chunk.choices[0].text for chunk in completion(m, stream=True)),
        answers,
    )
    calls.works(f"chat.completions.stream ({model})", lambda m=model: chat_events(m), answers)
    calls.works(
        f"responses.stream, get_final_response ({model})",
        lambda m=model: response_events(m),
        lambda pair: answers(pair[0]) and answers(pair[1]),
    )
calls.works(
    "chat.completions.create, logprobs",
    lambda: chat(CHATS[0], logprobs=True).choices[0].logprobs.content,
    lambda tokens: bytes(b for t in tokens for b in t.bytes).decode().strip() == ANSWER,
)
calls.works(
    "embeddings.create",
    lambda: client.embeddings.create(model="departments", input=[COMPLAINT, CRASH]).data,
    lambda data: same_vectors([item.embedding for item in data], COMPLAINT, CRASH),
)
calls.works(
    "embeddings.create, encoding_format",
    lambda: [
        client.embeddings.create(model="departments", input=[COMPLAINT, CRASH], encoding_format=kind).data
        for kind in ("float", "base64")
    ],
    lambda pair: (
        same_vectors([item.embedding for item in pair[0]], COMPLAINT, CRASH)
        and same_vectors([floats(item.embedding) for item in pair[1]], COMPLAINT, CRASH)
    ),
)
calls.refused(
    "embeddings.create, token ids",
    lambda: client.embeddings.create(model="departments", input=[[1, 2]]),
    "the input contains token ids",
)
calls.works(
    "moderations.create",
    lambda: client.moderations.create(model="tickets", input=CRASH).results[0],
    lambda result: result.flagged and result.categories.to_dict() == {"billing": False, "bug": True},
)
if hasattr(client, "decisions"):
    choices = [{"value": "delivery"}, {"value": "billing"}]
    questions = [
        {"type": "choice", "name": "department", "instructions": "?", "choices": choices},
        {"type": "predicate", "name": "billing", "instructions": "?"},
        {"type": "score", "name": "scale", "instructions": "?", "levels": [{"label": "account"}, {"label": "billing"}]},
    ]
    calls.works(
        "decisions.create",
        lambda: client.decisions.create(model="departments", input=COMPLAINT, questions=questions).answers,
        lambda a: a[0].choice == "billing" and a[1].probability > 0.5 and a[2].score > 0.5 and a[0].confidence > 0,
    )
if hasattr(client, "decisions"):
    both = [{"type": "predicate", "name": name, "instructions": "?"} for name in ("bug", "billing")]
    calls.works(
        "decisions.create, multilabel",
        lambda: client.decisions.create(model="tickets", input=CRASH, questions=both).answers,
        lambda given: all(
            math.isclose(answer.probability, classified("tickets", CRASH)[label], abs_tol=1e-6)
            for answer, label in zip(given, ("bug", "billing"), strict=True)
        ),
    )
else:
    calls.missing("decisions.create", "this release has no decisions")
calls.refused("chat.completions.create, unknown model", lambda: chat("nobody"), "model not found: 'nobody'")
calls.refused("chat.completions.create, classifier", lambda: chat("departments"), "generation requires")
for field, value in {"tools": [{"type": "function", "function": {"name": "f"}}], "audio": {"voice": "a"}}.items():
    calls.refused(
        f"chat.completions.create, {field}", lambda f=field, v=value: chat(CHATS[0], **{f: v}), "is not supported"
    )
calls.refused(
    "responses.create, store",
    lambda: client.responses.create(model=CHATS[0], input=QUESTION, store=True),
    "responses are not stored",
)
for field, value in {"previous_response_id": "resp_1", "background": True}.items():
    calls.refused(
        f"responses.create, {field}",
        lambda f=field, v=value: client.responses.create(model=CHATS[0], input=QUESTION, **{f: v}),
        "responses are not stored",
    )


class Shape(pydantic.BaseModel):
    """The schema of a structured answer."""

    drink: str


STORED: Any = {  # calls about objects that the service does not keep
    "responses are not stored": (
        ("responses.retrieve", ("resp_1",), {}),
        ("responses.cancel", ("resp_1",), {}),
        ("responses.delete", ("resp_1",), {}),
        ("responses.input_items.list", ("resp_1",), {}),
        ("responses.compact", (), {"model": CHATS[0], "input": QUESTION}),
        ("responses.input_tokens.count", (), {"model": CHATS[0], "input": QUESTION}),
    ),
    "chat completions are not stored": (
        ("chat.completions.list", (), {}),
        ("chat.completions.messages.list", ("chatcmpl-1",), {}),
        ("chat.completions.retrieve", ("chatcmpl-1",), {}),
        ("chat.completions.update", ("chatcmpl-1",), {"metadata": {}}),
        ("chat.completions.delete", ("chatcmpl-1",), {}),
    ),
    "no other format is supported": (
        ("responses.parse", (), {"model": CHATS[0], "input": QUESTION, "text_format": Shape}),
        ("chat.completions.parse", (), {"model": CHATS[0], "messages": MESSAGES, "response_format": Shape}),
    ),
}
for message, entries in STORED.items():
    for path, values, arguments in entries:
        calls.refused_if_any(path, client, message, *values, **arguments)
calls.report()
