"""The input of `/v1/decisions`: a text, or messages and tool calls, which become one text."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from app.errors import InvalidRequest
from app.wording import listed

MOST = 2048  # the maximum number of items, which is limited because they are parsed on the event loop
ROLES = ("user", "developer", "system", "assistant")
# The type of an item that is not a message -> the fields that make up its text.
CALLS = {
    "function_call": ("name", "arguments"),
    "function_call_output": ("output",),
    "custom_tool_call": ("name", "input"),
    "custom_tool_call_output": ("output",),
}
PARTS = {"input_text": "text", "output_text": "text", "refusal": "refusal"}  # type of a part -> the field of its text


class DecisionPart(msgspec.Struct, frozen=True):
    """A part of an item's content: a text or JSON data. Images are not supported."""

    type: Annotated[str, Meta(extra_json_schema={"enum": [*PARTS, "input_json"]})]
    text: str | None = None
    refusal: str | None = None
    data: dict[str, Any] | list[dict[str, Any]] | None = None


DecisionContent = str | Annotated[list[DecisionPart], Meta(max_length=256)]


class DecisionItem(msgspec.Struct, frozen=True):
    """A message with `role` and `content`, or a tool call or tool output with the fields of its `type`."""

    type: Annotated[str, Meta(extra_json_schema={"enum": ["message", *CALLS]})] = "message"
    role: Annotated[str, Meta(extra_json_schema={"enum": list(ROLES)})] | None = None
    content: DecisionContent | None = None
    name: str | None = None
    arguments: str | None = None
    input: str | None = None
    output: DecisionContent | None = None


DecisionInput = str | Annotated[list[DecisionItem], Meta(min_length=1, max_length=MOST)]


def text_of(value: DecisionInput) -> str:
    """Return the text of an input. Raises InvalidRequest if an item is incomplete or of an unsupported type.

    Several items become lines of the form `role: text`. A single message becomes its text without a role, so a version
    trained on texts reads the same input for a text and for a single message.
    """
    if isinstance(value, str):
        return value
    lines = [_line(item, f"input[{i}]") for i, item in enumerate(value)]
    if len(lines) == 1 and value[0].type == "message":
        return lines[0][1]
    return "\n".join(f"{role}: {text}" for role, text in lines)


def compact(value: Any) -> str:
    """Encode a value as JSON without white space. Object keys keep their order."""
    return msgspec.json.encode(value).decode()


def _line(item: DecisionItem, place: str) -> tuple[str, str]:
    """Return an item's role, or its type if it is not a message, and its text."""
    if item.type == "message":
        if item.role not in ROLES:
            sent = "missing" if item.role is None else f"{item.role[:60]!a}, which is not supported"
            message = f"{place}.role is {sent}; it must be user, developer, system or assistant"
            raise InvalidRequest(message, param=f"{place}.role")
        return item.role, _text(item.content, f"{place}.content")
    if item.type not in CALLS:
        raise InvalidRequest(
            f"{place}.type is {item.type[:60]!a}, which is not supported; it must be {listed(['message', *CALLS])}",
            param=f"{place}.type",
        )
    texts = [_text(getattr(item, name), f"{place}.{name}") for name in CALLS[item.type]]
    return item.type, " ".join(texts)


def _text(content: DecisionContent | None, place: str) -> str:
    if content is None:
        raise InvalidRequest(f"{place} is missing", param=place)
    if isinstance(content, str):
        return content
    return "\n".join(_part(part, f"{place}[{i}]") for i, part in enumerate(content))


def _part(part: DecisionPart, place: str) -> str:
    if part.type == "input_json" and part.data is not None:
        return compact(part.data)
    field = "data" if part.type == "input_json" else PARTS.get(part.type)
    if field is None:
        raise InvalidRequest(
            f"{place} is of type {part.type[:60]!a}, which is not supported; send text, because the models read only "
            "text",
            param=f"{place}.type",
        )
    text: str | None = getattr(part, field)
    if text is None:
        raise InvalidRequest(f"{place}.{field} is missing", param=f"{place}.{field}")
    return text
