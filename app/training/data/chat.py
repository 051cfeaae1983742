"""Reads conversations in a `messages` column as turns.

Messages without text, such as tool calls, and messages after the last answer are left out.
"""

from __future__ import annotations

from typing import Any

from app.tokenization.chat import content_text, exchanges
from app.training.data.cells import CellError, to_text
from app.training.data.columns import read
from app.training.data.example import Turn
from app.training.data.files import Record
from app.training.data.layouts import Layout
from app.training.data.notes import MESSAGES_LEFT_OUT, NO_ANSWER, ROLES_RENAMED, UNREADABLE_PARTS

_ROLES = {  # roles in ShareGPT's format and similar ones -> the role that they mean
    "human": "user", "gpt": "assistant", "chatgpt": "assistant", "bot": "assistant", "ai": "assistant",
    "model": "assistant",
}  # fmt: skip

Turns = tuple[tuple[Turn, ...], tuple[str, ...]]


def read_turns(layout: Layout, record: Record) -> Turns:
    """Return the turns of a conversation, and notes about it. The turns alternate: prompt, answer, prompt, answer, …

    The loss is computed over all of the assistant's answers with a weight other than 0. Without any, `turns` is empty.
    """
    return read(layout, record, "messages", _to_turns)


def _to_turns(value: Any) -> Turns:
    if not isinstance(value, list) or not value:
        raise CellError("must be a list of messages with role and content")
    try:
        messages = [_to_message(number, message) for number, message in enumerate(value, 1)]
    except _UnreadablePart:
        return (), (UNREADABLE_PARTS,)
    kept = [message for message in messages if message is not None]
    while kept and not _is_answer(kept[-1]):
        kept.pop()
    turns: list[Turn] = []
    for (prompt, text), answer in zip(exchanges(kept), filter(_is_answer, kept), strict=True):
        turns += [Turn(prompt, learned=False, ended=False), Turn(text, learned=answer["weight"] != 0, ended=True)]
    if not any(turn.learned for turn in turns):
        return (), (NO_ANSWER,)
    notes = (MESSAGES_LEFT_OUT,) if len(kept) < len(messages) else ()
    return tuple(turns), (*notes, ROLES_RENAMED) if any(message["renamed"] for message in kept) else notes


class _UnreadablePart(Exception):
    """A message contains a part that is not text, such as an image."""


def _is_answer(message: dict[str, Any]) -> bool:
    return bool(message["role"] == "assistant")


def _to_message(number: int, message: Any) -> dict[str, Any] | None:
    """Return the role, content and weight of a message, or None if it has no content, like most tool calls."""
    if isinstance(message, dict) and "role" not in message and isinstance(message.get("from"), str):
        message = {"role": message["from"], "content": message.get("value")} | message
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        raise CellError(f"message {number} must have a role and a content, and both must be strings")
    if message.get("weight") not in (None, 0, 1):
        raise CellError(f"message {number}: weight must be 0 or 1")
    content = message.get("content")
    calls = bool(message.get("tool_calls") or message.get("function_call"))
    if content is None and (calls or "content" in message):
        return None
    parts = [content] if isinstance(content, str) else content
    if not isinstance(parts, list) or not all(isinstance(part, (str, dict)) for part in parts):
        raise CellError(f"message {number} must have a role and a content, and both must be strings")
    text = content_text(parts)
    if text is None:
        raise _UnreadablePart
    if not text and calls:
        return None
    role = _ROLES.get(message["role"].lower(), message["role"])
    renamed = role != message["role"]
    return {"role": to_text(role), "content": to_text(text), "weight": message.get("weight"), "renamed": renamed}
