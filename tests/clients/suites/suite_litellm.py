"""LiteLLM, with this service as an OpenAI-compatible provider."""

from __future__ import annotations

import asyncio
from typing import Any

import litellm
from calls import CHATS, COMPLAINT, CRASH, MESSAGES, PROMPT, QUESTION, URL, Calls, answers, floats, same_vectors

calls = Calls("litellm")
at: dict[str, Any] = {"api_base": f"{URL}/v1", "api_key": "none", "max_retries": 0}


async def asynchronous(model: str) -> list[str]:
    """Return five texts: of a chat, of its stream, of a response, of its stream, and of a completion."""
    asked: dict[str, Any] = {"model": f"openai/{model}", "messages": MESSAGES, "temperature": 0, **at}
    whole = await litellm.acompletion(**asked)
    chunks = [chunk async for chunk in await litellm.acompletion(**asked, stream=True)]
    question: dict[str, Any] = {"model": f"openai/{model}", "input": QUESTION, "temperature": 0, **at}
    response = await litellm.aresponses(**question)
    events = [event async for event in await litellm.aresponses(**question, stream=True)]
    text = await litellm.atext_completion(
        model=f"text-completion-openai/{model}", prompt=PROMPT, temperature=0, max_tokens=40, **at
    )
    return [
        whole.choices[0].message.content,
        "".join(chunk.choices[0].delta.content or "" for chunk in chunks),
        response.output_text,
        deltas(events),
        text.choices[0].text,
    ]


def deltas(events: Any) -> str:
    return "".join(event.delta for event in events if event.type == "response.output_text.delta")


def chat(model: str, **options: Any) -> Any:
    return litellm.completion(model=f"openai/{model}", messages=MESSAGES, temperature=0, **at, **options)


for model in CHATS:
    calls.works(f"completion ({model})", lambda m=model: chat(m).choices[0].message.content, answers)
    calls.works(
        f"completion, stream ({model})",
        lambda m=model: "".join(chunk.choices[0].delta.content or "" for chunk in chat(m, stream=True)),
        answers,
    )
    calls.works(
        f"responses ({model})",
        lambda m=model: litellm.responses(model=f"openai/{m}", input=QUESTION, temperature=0, **at).output_text,
        answers,
    )
    calls.works(
        f"responses, stream ({model})",
        lambda m=model: deltas(
            litellm.responses(model=f"openai/{m}", input=QUESTION, temperature=0, stream=True, **at)
        ),
        answers,
    )
    calls.works(
        f"acompletion, aresponses, with and without streaming, atext_completion ({model})",
        lambda m=model: asyncio.run(asynchronous(m)),
        lambda texts: len(texts) == 5 and all(map(answers, texts)),
    )
    calls.works(
        f"text_completion, stream ({model})",
        lambda m=model: "".join(
            chunk.choices[0].text or ""
            for chunk in litellm.text_completion(
                model=f"text-completion-openai/{m}", prompt=PROMPT, temperature=0, max_tokens=40, stream=True, **at
            )
        ),
        answers,
    )
    calls.works(
        f"text_completion ({model})",
        lambda m=model: (
            litellm.text_completion(
                model=f"text-completion-openai/{m}", prompt=PROMPT, temperature=0, max_tokens=40, **at
            )
            .choices[0]
            .text
        ),
        answers,
    )
calls.works(
    "embedding",
    lambda: litellm.embedding(model="openai/departments", input=[COMPLAINT, CRASH], **at).data,
    lambda data: same_vectors([item["embedding"] for item in data], COMPLAINT, CRASH),
)
calls.works(
    "embedding, base64",
    lambda: litellm.embedding(model="openai/departments", input=[COMPLAINT], encoding_format="base64", **at).data,
    lambda data: same_vectors([floats(item["embedding"]) for item in data], COMPLAINT),
)
calls.works(
    "aembedding",
    lambda: asyncio.run(litellm.aembedding(model="openai/departments", input=[CRASH], **at)).data,
    lambda data: same_vectors([item["embedding"] for item in data], CRASH),
)
calls.works(
    "moderation",
    lambda: litellm.moderation(model="tickets", custom_llm_provider="openai", input=CRASH, **at).results[0],
    lambda result: result.flagged and {k: v for k, v in dict(result.categories).items() if v} == {"bug": True},
)
calls.refused("completion, unknown model", lambda: chat("nobody"), "model not found: 'nobody'")
calls.report()
