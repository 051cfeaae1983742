"""The text format of conversations, shared by all models that are trained on `messages`.

    role: content⏎        a message of any role other than the assistant
    assistant: content    an answer: the text after the colon, including the space, followed by the end token

Therefore, a prompt ends with `assistant:`, and a line break separates an answer from the next message.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_MARKER = re.compile(r"\n((?:system|developer|user|assistant|tool|function):)")
ANSWER_LEAD = " "  # the first character of each answer, which is not part of the answer's content

# The same format as a Jinja template, for Hugging Face's `apply_chat_template`.
TEMPLATE = (
    "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{{ '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)


# The type of a part of a message -> the key of its text.
TEXT_PARTS = {"text": "text", "input_text": "text", "output_text": "text", "refusal": "refusal"}


def content_text(content: str | Sequence[Any]) -> str | None:
    """Return the text of a message's content. If there are several text parts, they are joined by line breaks.

    Returns None if a part is not text, for example if it is an image.
    """
    if isinstance(content, str):
        return content
    texts = []
    for part in content:
        key = TEXT_PARTS.get(str(part.get("type", "text")), "") if isinstance(part, Mapping) else ""
        text = part.get(key) if isinstance(part, Mapping) else part
        if not isinstance(text, str):
            return None
        texts.append(text)
    return "\n".join(texts)


def role_marker(content: str) -> str:
    """Return the role, with its colon, with which a line within a message begins like another message, or ""."""
    match = _MARKER.search(content)
    return "" if match is None else match[1]


def exchanges(messages: Iterable[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Return a pair (prompt, answer) for each assistant message, in order.

    Each prompt contains the messages since the previous answer. Messages after the last answer are left out.
    """
    pairs = []
    prompt = ""
    for message in messages:
        role, content = message["role"], message["content"]
        if role == "assistant":
            pairs.append((f"{prompt}assistant:", f"{ANSWER_LEAD}{content}"))
            prompt = "\n"
        else:
            prompt += f"{role}: {content}\n"
    return pairs


def continued(messages: Sequence[Mapping[str, Any]]) -> tuple[list[tuple[str, str]], str]:
    """Return the pairs of all earlier answers, and the prompt for the next answer."""
    *pairs, (prompt, _) = exchanges([*messages, {"role": "assistant", "content": ""}])
    return pairs, prompt
