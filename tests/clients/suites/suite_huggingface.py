"""`huggingface_hub`: classification, vectors, similarities, texts and chats, synchronous and asynchronous."""

from __future__ import annotations

import asyncio
import math
from functools import cache
from typing import Any

import numpy as np
from calls import (
    CHATS,
    COMPLAINT,
    CRASH,
    MESSAGES,
    PROMPT,
    URL,
    WAVE,
    Calls,
    answers,
    classified,
    embedded,
    same_vectors,
)
from huggingface_hub import AsyncInferenceClient, InferenceClient

calls = Calls("huggingface_hub")
LENGTH = 40  # in tokens, longer than the answer


@cache  # a client that is no longer referenced closes its streams
def client(path: str) -> Any:
    return InferenceClient(f"{URL}/models/{path}")


def asynchronous(path: str) -> Any:
    return AsyncInferenceClient(f"{URL}/models/{path}")


def scores(entries: Any) -> dict[str, float]:
    return {entry.label: entry.score for entry in entries}


def matches(actual: dict[str, float], model: str, value: Any) -> bool:
    expected = classified(model, value)
    return actual.keys() == expected.keys() and all(math.isclose(actual[k], expected[k], abs_tol=1e-6) for k in actual)


def generated(model: str, **options: Any) -> tuple[str, str]:
    """Return a text as a whole, and joined from its stream."""
    whole = client(model).text_generation(PROMPT, max_new_tokens=LENGTH, **options)
    return whole, "".join(client(model).text_generation(PROMPT, max_new_tokens=LENGTH, stream=True, **options))


def chat(model: str) -> Any:
    return client(model).chat_completion(MESSAGES, max_tokens=LENGTH, temperature=0).choices[0].message.content


def streamed_chat(model: str) -> str:
    chunks = client(model).chat_completion(MESSAGES, max_tokens=LENGTH, temperature=0, stream=True)
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


async def all_texts(model: str) -> list[str]:
    other = asynchronous(model)
    text = await other.text_generation(PROMPT, max_new_tokens=LENGTH)
    stream = await other.text_generation(PROMPT, max_new_tokens=LENGTH, stream=True)
    reply = await other.chat_completion(MESSAGES, max_tokens=LENGTH, temperature=0)
    chunks = await other.chat_completion(MESSAGES, max_tokens=LENGTH, temperature=0, stream=True)
    pieces = [piece async for piece in stream]
    deltas = [chunk.choices[0].delta.content or "" async for chunk in chunks if chunk.choices]
    return [text, "".join(pieces), reply.choices[0].message.content, "".join(deltas)]


for model in CHATS:
    calls.works(
        f"text_generation, with and without streaming ({model})",
        lambda m=model: generated(m),
        lambda texts: all(map(answers, texts)) and texts[0] == texts[1],
    )
    calls.works(
        f"text_generation, stop across tokens, with and without streaming ({model})",
        lambda m=model: generated(m, stop=["er T"]),
        lambda texts: [text.strip() for text in texts] == ["Grüner T"] * 2,
    )
    calls.works(
        f"text_generation, details ({model})",
        lambda m=model: client(m).text_generation(PROMPT, max_new_tokens=LENGTH, details=True),
        lambda reply: answers(reply.generated_text) and reply.details.finish_reason == "eos_token",
    )
    calls.works(f"chat_completion ({model})", lambda m=model: chat(m), answers)
    calls.works(f"chat_completion, stream ({model})", lambda m=model: streamed_chat(m), answers)
    calls.works(
        f"AsyncInferenceClient: text_generation, chat_completion, with and without streaming ({model})",
        lambda m=model: asyncio.run(all_texts(m)),
        lambda texts: len(texts) == 4 and all(map(answers, texts)),
    )
calls.works(
    "text_classification",
    lambda: scores(client("departments").text_classification(COMPLAINT)),
    lambda actual: max(actual, key=actual.__getitem__) == "billing" and matches(actual, "departments", COMPLAINT),
)
calls.works(
    "text_classification, top_k",
    lambda: scores(client("departments").text_classification(COMPLAINT, top_k=1)),
    lambda actual: [*actual] == ["billing"],
)
calls.works(
    "text_classification, multilabel",
    lambda: scores(client("tickets").text_classification(CRASH)),
    lambda actual: actual["bug"] > 0.5 > actual["billing"] and matches(actual, "tickets", CRASH),
)
calls.works(
    "AsyncInferenceClient: text_classification",
    lambda: scores(asyncio.run(asynchronous("departments").text_classification(COMPLAINT))),
    lambda actual: matches(actual, "departments", COMPLAINT),
)
calls.works(
    "feature_extraction",
    lambda: client("departments/pipeline/feature-extraction").feature_extraction([COMPLAINT, CRASH]),
    lambda vectors: same_vectors(vectors, COMPLAINT, CRASH),
)
calls.works(
    "sentence_similarity",
    lambda: client("departments").sentence_similarity(COMPLAINT, [COMPLAINT, CRASH]),
    lambda actual: np.allclose(actual, np.array(embedded(COMPLAINT, CRASH)) @ embedded(COMPLAINT)[0], atol=1e-5),
)
calls.refused(
    "feature_extraction, normalize=False",
    lambda: client("departments/pipeline/feature-extraction").feature_extraction("a", normalize=False),
    "unit length",
)
calls.refused(
    "text_classification, unknown model", lambda: client("nobody").text_classification("a"), "model not found: 'nobody'"
)
calls.works(
    "text_classification, numbers",
    lambda: scores(client("waves").text_classification([WAVE])),
    lambda actual: max(actual, key=actual.__getitem__) == "fast" and matches(actual, "waves", WAVE),
)
calls.report()
