"""Reads conversations in a `messages` column as turns."""

from __future__ import annotations

from typing import Any

from app.tokenization.chat import exchanges
from app.training.data.cells import CellError, to_text
from app.training.data.columns import read
from app.training.data.example import Turn
from app.training.data.files import Record
from app.training.data.layouts import Layout


def read_turns(layout: Layout, record: Record) -> tuple[Turn, ...]:
    """Prompt, answer, prompt, answer, …: every answer of the assistant is learned, unless its weight is 0."""
    return read(layout, record, "messages", _to_turns)


def _to_turns(value: Any) -> tuple[Turn, ...]:
    messages = _check(value)
    weights = [message.get("weight") for message in messages if message["role"] == "assistant"]
    turns: list[Turn] = []
    for (prompt, answer), weight in zip(exchanges(messages), weights, strict=True):
        turns += [Turn(prompt, learned=False, ended=False), Turn(answer, learned=weight != 0, ended=True)]
    if not any(turn.learned for turn in turns):
        raise CellError("every message of the assistant has weight 0, so there is nothing to learn")
    return tuple(turns)


def _check(messages: Any) -> list[dict[str, Any]]:
    if not isinstance(messages, list) or not messages:
        raise CellError("must be a list of {role, content}")
    for number, message in enumerate(messages, 1):
        if not isinstance(message, dict) or not all(isinstance(message.get(key), str) for key in ("role", "content")):
            raise CellError(f"message {number} needs a role and a content, both texts")
        for key in ("role", "content"):
            to_text(message[key])
        if message.get("weight") not in (None, 0, 1):
            raise CellError(f"message {number}: weight can be 0 or 1")
    if messages[-1]["role"] != "assistant":
        raise CellError("the last message must be the assistant's: messages after its last one are not learned")
    return messages
