"""Creates row ids, and divides lists into pages."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Generic, TypeVar

from app.errors import InvalidRequest

T = TypeVar("T")
ORDERS = ("asc", "desc")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A page of a list. `has_more` indicates whether the list continues after the last item on the page."""

    items: list[T]
    has_more: bool


def new_id(prefix: str) -> str:
    """Return a new id, such as `file-…` or `ftjob-…`, with 96 random bits, so that it cannot be guessed."""
    return f"{prefix}-{secrets.token_hex(12)}"


def check_page(limit: int, order: str, most: int) -> None:
    """Raise InvalidRequest unless `limit` is from 1 to `most` and `order` is "asc" or "desc"."""
    if not 1 <= limit <= most:
        raise InvalidRequest(f"limit must be from 1 to {most}, not {limit}", param="limit")
    if order not in ORDERS:
        raise InvalidRequest(f"order must be asc or desc, not {order[:20]!r}", param="order")


def cut(items: list[T], limit: int) -> Page[T]:
    """Return a page from the results of a query for `limit + 1` items."""
    return Page(items[:limit], len(items) > limit)
