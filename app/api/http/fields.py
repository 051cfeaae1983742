"""Fields shared by requests and replies of several dialects."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

Truncation = Annotated[int, Meta(ge=-1, le=2**31 - 1, extra_json_schema={"not": {"const": 0}})]


class Usage(msgspec.Struct, frozen=True):
    """Token counts of a request that does not generate tokens, so `completion_tokens` is always 0."""

    prompt_tokens: int
    total_tokens: int
    completion_tokens: int = 0
    prompt_tokens_details: dict[str, int] | None = None
