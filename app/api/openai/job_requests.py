"""The bounds of metadata and the retry count, which all requests that create jobs or batches share."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Header

from app.api.openapi.schemas import Schema
from app.jobs.limits import KEY_LIMIT, PAIR_LIMIT, VALUE_LIMIT

METADATA: Schema = {
    "maxProperties": PAIR_LIMIT,
    "propertyNames": {"minLength": 1, "maxLength": KEY_LIMIT},
    "additionalProperties": {"type": "string", "maxLength": VALUE_LIMIT},
}


async def retry_count(x_stainless_retry_count: Annotated[str | None, Header(include_in_schema=False)] = None) -> int:
    """A dependency that returns the retry count from the header of OpenAI's client, or 0 if it is not a number."""
    count = x_stainless_retry_count or ""
    return int(count) if count.isdecimal() and len(count) < 6 else 0


RetryCount = Annotated[int, Depends(retry_count)]
