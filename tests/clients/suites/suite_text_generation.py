"""`text-generation`, the client of TGI: texts and chats, whole and streamed, and errors."""

from __future__ import annotations

import asyncio
from typing import Any

from calls import CHATS, MESSAGES, PROMPT, URL, Calls, answers
from text_generation import AsyncClient, Client

calls = Calls("text-generation")
LENGTH = 40  # in tokens, longer than the answer


def client(model: str) -> Any:
    return Client(f"{URL}/models/{model}", timeout=60)


def joined(model: str, **options: Any) -> tuple[str, str]:
    """Return the pieces of a stream as one text, and the whole text in its last event."""
    events = list(client(model).generate_stream(PROMPT, max_new_tokens=LENGTH, **options))
    text = "".join(event.token.text for event in events if not event.token.special)
    return text, events[-1].generated_text


async def asynchronous(model: str) -> list[str]:
    other: Any = AsyncClient(f"{URL}/models/{model}", timeout=60)
    whole = (await other.generate(PROMPT, max_new_tokens=LENGTH)).generated_text
    events = [event async for event in other.generate_stream(PROMPT, max_new_tokens=LENGTH)]
    chat = await other.chat(MESSAGES, max_tokens=LENGTH, temperature=0)
    return [
        whole,
        "".join(event.token.text for event in events if not event.token.special),
        chat.choices[0].message.content,
    ]


for model in CHATS:
    calls.works(
        f"generate ({model})",
        lambda m=model: client(m).generate(PROMPT, max_new_tokens=LENGTH),
        lambda reply: answers(reply.generated_text) and str(reply.details.finish_reason.value) == "eos_token",
    )
    calls.works(
        f"generate, stop_sequences across tokens ({model})",
        lambda m=model: client(m).generate(PROMPT, max_new_tokens=LENGTH, stop_sequences=["er T"]),
        lambda reply: (
            reply.generated_text.strip() == "Grüner T" and str(reply.details.finish_reason.value) == "stop_sequence"
        ),
    )
    calls.works(
        f"generate_stream ({model})",
        lambda m=model: joined(m),
        lambda texts: answers(texts[0]) and texts[0] == texts[1],
    )
    calls.works(
        f"generate_stream, stop_sequences across tokens ({model})",
        lambda m=model: joined(m, stop_sequences=["er T"]),
        lambda texts: texts[0] == texts[1] and texts[0].strip() == "Grüner T",
    )
    calls.works(
        f"chat ({model})",
        lambda m=model: client(m).chat(MESSAGES, max_tokens=LENGTH, temperature=0).choices[0].message.content,
        answers,
    )
    calls.works(
        f"AsyncClient: generate, generate_stream, chat ({model})",
        lambda m=model: asyncio.run(asynchronous(m)),
        lambda texts: all(map(answers, texts)),
    )
calls.works(
    "generate, decoder_input_details, best_of, top_n_tokens",
    lambda: client(CHATS[0]).generate(
        PROMPT, max_new_tokens=LENGTH, decoder_input_details=True, best_of=2, do_sample=True, top_n_tokens=2
    ),
    lambda reply: (
        "".join(token.text for token in reply.details.prefill) == PROMPT
        and len(reply.details.best_of_sequences) == 1
        and all(len(tokens) == 2 for tokens in reply.details.top_tokens)
    ),
)
# The client requires `role` and `tool_calls` in each event, and raises this error if they are absent.
calls.refused(
    "chat, stream: this release cannot read streams in OpenAI's format",
    lambda: list(client(CHATS[0]).chat(MESSAGES, stream=True)),
    "object has no attribute 'status'",
)
calls.refused("generate, watermark", lambda: client(CHATS[0]).generate(PROMPT, watermark=True), "watermark")
calls.refused("generate, unknown model", lambda: client("nobody").generate(PROMPT), "model not found: 'nobody'")
calls.refused(
    "generate, too many tokens", lambda: client(CHATS[0]).generate("a", max_new_tokens=10**9), "max_new_tokens"
)
calls.report()
