"""Conversations as texts to continue: the one format of all versions that learn from `messages`.

    role: content⏎        every message but the assistant's
    assistant: content    learned from the space on, with the token that ends a text; before a further message, a ⏎

A prompt therefore ends with `assistant:`. `TEMPLATE` says the same as a chat template of Hugging Face's kind. Knows
messages; knows no tokens.
"""

from __future__ import annotations

from typing import Any

from app.training.data.columns import Layout, Turn
from app.training.data.files import Record

TEMPLATE = (
    "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{{ '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)


def turns(layout: Layout, record: Record) -> tuple[Turn, ...]:
    """Prompt, answer, prompt, answer, …: every answer of the assistant is learned, but for those of weight 0."""
    found: list[Turn] = []
    before = ""
    for message in _messages(layout, record):
        role, content = message["role"], message["content"]
        if role != "assistant":
            before += f"{role}: {content}\n"
            continue
        answer = Turn(f" {content}", learned=message.get("weight") != 0, ended=True)
        found += [Turn(f"{before}assistant:", learned=False, ended=False), answer]
        before = "\n"
    if not any(turn.learned for turn in found):
        raise layout.fail(record.where, "messages", "every message of the assistant has weight 0: nothing is learned")
    return tuple(found)


def _messages(layout: Layout, record: Record) -> list[dict[str, Any]]:
    messages = record.values.get("messages")
    if not isinstance(messages, list) or not messages:
        raise layout.fail(record.where, "messages", "must be a list of {role, content}")
    for number, message in enumerate(messages, 1):
        if not isinstance(message, dict) or not all(isinstance(message.get(key), str) for key in ("role", "content")):
            said = f"message {number} needs a role and a content, both texts"
            raise layout.fail(record.where, "messages", said)
        for key in ("role", "content"):
            layout.as_text(record, "messages", message[key])
        if message.get("weight") not in (None, 0, 1):
            raise layout.fail(record.where, "messages", f"message {number}: weight can be 0 or 1")
    if messages[-1]["role"] != "assistant":
        said = "the last message must be the assistant's: what comes after its last is not learned from"
        raise layout.fail(record.where, "messages", said)
    return messages
