"""Converts messages from the clients' format to the format that the model reads. Only text is supported."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from app.errors import InvalidRequest
from app.tokenization.chat import TEXT_PARTS, content_text

ROLES = ("system", "developer", "user", "assistant")
Role = Annotated[str, Meta(extra_json_schema={"enum": list(ROLES)})]


class ContentPart(msgspec.Struct, frozen=True):
    """A part of a message's content: a `text`, or a `refusal` by the assistant. Several parts are joined with line
    breaks."""

    type: Annotated[str, Meta(extra_json_schema={"enum": list(TEXT_PARTS)})]
    text: str | None = None
    refusal: str | None = None


Content = str | Annotated[list[ContentPart], Meta(max_length=256)]
MOST = 2048  # the maximum number of messages, which is limited because they are parsed on the event loop


def plain_message(role: str, content: Content | None, place: str) -> dict[str, str]:
    """Return the message's role and its text, as `role` and `content`.

    `place` is the message's path in the request, such as `messages[0]`. Raises InvalidRequest if the role is unknown,
    or if the content is missing or contains a part that is not text.
    """
    if role not in ROLES:
        raise InvalidRequest(
            f"{place}.role is {role[:60]!a}, which is not supported; it must be system, developer, user or assistant",
            param=f"{place}.role",
        )
    if content is None:
        raise InvalidRequest(f"{place}.content is missing", param=f"{place}.content")
    if isinstance(content, str):
        return {"role": role, "content": content}
    texts = [_part_text(part, place, i) for i, part in enumerate(content)]
    return {"role": role, "content": content_text(texts) or ""}


def _part_text(part: ContentPart, message: str, number: int) -> str:
    key = TEXT_PARTS.get(part.type)
    text = part.refusal if key == "refusal" else part.text
    if key is not None and text is not None:
        return text
    place = f"{message}.content[{number}]"
    if key is None:
        raise InvalidRequest(
            f"{place} is of type {part.type[:60]!a}, which is not supported; send only parts of type text",
            param=f"{place}.type",
        )
    raise InvalidRequest(f"{place}.{key} is missing", param=f"{place}.{key}")
