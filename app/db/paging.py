"""Identities of rows, and one page of a list of them. Knows no table."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Generic, TypeVar

from app.errors import InvalidRequest

Item = TypeVar("Item")
ORDERS = ("asc", "desc")


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """`has_more`: there are items after the last of these, in the order that was asked for."""

    items: list[Item]
    has_more: bool


def new_id(prefix: str) -> str:
    """`file-…`, `ftjob-…`: 96 random bits, so that nobody guesses another's."""
    return f"{prefix}-{secrets.token_hex(12)}"


def check_page(limit: int, order: str, most: int) -> None:
    if not 1 <= limit <= most:
        raise InvalidRequest(f"limit must be from 1 to {most}, not {limit}", param="limit")
    if order not in ORDERS:
        raise InvalidRequest(f"order must be asc or desc, not {order[:20]!r}", param="order")


def cut(items: list[Item], limit: int) -> Page[Item]:
    """The page of a query that asked for one item more than `limit`."""
    return Page(items[:limit], len(items) > limit)
