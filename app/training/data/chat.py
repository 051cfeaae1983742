"""Reads conversations in a `messages` column as turns.

Messages without text, such as tool calls, and messages after the last answer are left out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from app.tokenization.chat import content_text, exchanges, role_marker
from app.training.data import notes
from app.training.data.cells import CellError, describe, to_text
from app.training.data.columns import damage_notes, read
from app.training.data.example import Turn
from app.training.data.files import Record
from app.training.data.layouts import Layout
from app.training.data.message_texts import read_messages

_ROLES = {  # maps the roles in ShareGPT's format, and in similar formats, to OpenAI's roles
    "human": "user", "gpt": "assistant", "chatgpt": "assistant", "bot": "assistant", "ai": "assistant",
    "model": "assistant",
}  # fmt: skip
_USUAL_ROLES = ("system", "developer", "user", "assistant", "tool", "function")
_KEYS = {"role", "content", "weight", "from", "value", "tool_calls", "function_call", "tool_call_id"}

ChatTurns = tuple[tuple[Turn, ...], tuple[str, ...]]


@dataclass(slots=True)
class _Message:
    """A message of a conversation. If `text` is None, as in most tool calls, the message is left out."""

    role: str
    text: str | None
    learned: bool = True  # if the message is an answer: whether the loss is computed over it
    renamed: bool = False  # whether the file has a role such as human, which is read as user
    calls: bool = False  # whether the message calls tools
    notes: list[str] = field(default_factory=list)  # how the message is used, if it is not left out

    @property
    def is_answer(self) -> bool:
        return self.role == "assistant" and self.text is not None


def read_turns(layout: Layout, record: Record) -> ChatTurns:
    """Return the turns of a conversation, and notes about it. The turns alternate: prompt, answer, prompt, answer, …

    The loss is computed over the assistant's answers, except those with weight 0. If there is no answer to
    train on, or if a message has a part that is not text, returns an empty tuple and a note with the reason.
    """
    return read(layout, record, "messages", _to_turns)


def _to_turns(value: Any) -> ChatTurns:
    is_text = isinstance(value, str)
    value = read_messages(value) if is_text else value
    if value == []:
        return (), (notes.NO_MESSAGES,)
    if not isinstance(value, list):
        raise CellError(f"must be a list of messages with role and content; found {describe(value)}")
    turns, own = _turns_of(value)
    return turns, (*own, notes.MESSAGES_AS_TEXT) if is_text and turns else own


def _turns_of(value: list[Any]) -> ChatTurns:
    try:
        messages = [_to_message(number, message) for number, message in enumerate(value, 1)]
    except _UnreadablePart:
        return (), (notes.UNREADABLE_PARTS,)
    answers = [message for message in messages if message.is_answer]
    if not any(answer.learned for answer in answers):
        only_calls = any(message.calls for message in messages)
        reason = notes.NO_LEARNED_ANSWER if answers else notes.ONLY_TOOL_CALLS if only_calls else notes.NO_ANSWER
        return (), (reason,)
    last = max(index for index, message in enumerate(messages) if message.is_answer)
    kept = [message for message in messages[: last + 1] if message.text is not None]
    turns: list[Turn] = []
    pairs = exchanges({"role": message.role, "content": message.text} for message in kept)
    for (prompt, text), answer in zip(pairs, answers, strict=True):
        turns += [Turn(prompt, learned=False, ended=False), Turn(text, learned=answer.learned, ended=True)]
    return tuple(turns), tuple(_notes_of(messages, last))


def _notes_of(messages: list[_Message], last: int) -> list[str]:
    """Return the notes on each message of a conversation whose last answer has the index `last`."""
    result: list[str] = []
    for index, message in enumerate(messages):
        if message.calls:
            result.append(notes.TOOL_CALLS)
        if message.text is None:
            result += () if message.calls else (notes.WITHOUT_TEXT,)
        else:
            result += message.notes if index <= last else (notes.AFTER_LAST_ANSWER,)
    return [*result, notes.ROLES_RENAMED] if any(message.renamed for message in messages[: last + 1]) else result


class _UnreadablePart(Exception):
    """A message contains a part that is not text, such as an image."""


def _to_message(number: int, message: Any) -> _Message:
    """Return a checked message. Raises CellError, with the message's number, if the message is malformed."""
    if not isinstance(message, dict):
        raise CellError(f"message {number} must be an object with role and content; found {describe(message)}")
    if "role" not in message and isinstance(message.get("from"), str):
        message = {"role": message["from"], "content": message.get("value")} | message
    role = message.get("role")
    if not isinstance(role, str):
        reason = f"{describe(role)} as its role" if "role" in message else "no role"
        raise CellError(f"message {number} has {reason}; each message must have a role, such as user or assistant")
    weight = message.get("weight")
    if weight not in (None, 0, 1):
        raise CellError(f"message {number}: weight must be 0 or 1, not {describe(weight)}")
    calls = bool(message.get("tool_calls") or message.get("function_call"))
    place = f"message {number} (role {role[:30]!r})"
    text, is_joined = _text(place, message, calls)
    meant = _meant_role(role)
    try:
        result = _Message(to_text(meant), None if text is None else to_text(text), weight != 0, meant != role, calls)
    except CellError as error:
        raise CellError(f"{place}: {error}") from None
    keys = [key for key, content in message.items() if key not in _KEYS and content not in (None, "", [], {})]
    result.notes += [f"{notes.MESSAGE_KEYS}:{key}" for key in keys]
    result.notes += _uses(result) + [notes.JOINED_PARTS] * is_joined
    result.notes += damage_notes(text or "")
    if text and (marker := role_marker(text)):
        result.notes.append(f"{notes.ROLE_MARKERS}:{marker}")
    return result


def _meant_role(role: str) -> str:
    """Return the role in OpenAI's terms. An unknown role is left unchanged."""
    name = role.strip().lower()
    return name if name in _USUAL_ROLES else _ROLES.get(name, role)


def _uses(message: _Message) -> list[str]:
    """Return the notes on how a message is used, according to its role, text and weight."""
    if message.role in ("tool", "function"):
        return [notes.TOOL_RESULTS]
    if message.role not in _USUAL_ROLES:
        return [f"{notes.OTHER_ROLES}:{message.role}"]
    if message.role != "assistant":
        return []
    return [notes.UNLEARNED] * (not message.learned) + [notes.EMPTY_ANSWERS] * (not message.text)


def _text(place: str, message: dict[str, Any], calls: bool) -> tuple[str | None, bool]:
    """Return the text of a message, or None if it has none, and whether it was joined from several parts."""
    content = message.get("content")
    if content is None and (calls or "content" in message):
        return None, False
    if content is None:
        raise CellError(f"{place} has no content; write a text, or null if it has tool_calls")
    parts = [content] if isinstance(content, str) else content
    if not isinstance(parts, list):
        hint = "; write the object as a JSON string" if isinstance(content, dict) else ""
        expected = "the content must be a string or a list of text parts"
        raise CellError(f"{place} has {describe(content)} as its content; {expected}{hint}")
    for index, part in enumerate(parts, 1):
        if not isinstance(part, (str, dict)):
            reason = f"{describe(part)} as part {index} of its content"
            raise CellError(f"{place} has {reason}; a part must be a string or an object with a text")
    text = content_text(parts)
    if text is None:
        raise _UnreadablePart
    return None if not text and calls else text, len(parts) > 1
