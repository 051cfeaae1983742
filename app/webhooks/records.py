"""Immutable records of endpoints and deliveries. Their `repr` contains no secrets."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

from app.db.tables import WebhookEndpointRow
from app.webhooks import signing


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookEndpoint:
    """An endpoint as its owner sees it.

    `waiting` and `failed` are the numbers of its deliveries with these statuses, and `error` is the latest error
    message.
    """

    id: str
    owner: str
    name: str
    url: str
    event_types: tuple[str, ...]
    secret: str = field(repr=False)
    old_secret: str | None = field(repr=False)
    old_secret_until: float | None
    created_at: float
    updated_at: float
    waiting: int = 0
    failed: int = 0
    error: str | None = None

    @classmethod
    def of(cls, row: WebhookEndpointRow) -> Self:
        """Convert a row to a record, without the statistics of its deliveries."""
        return cls(
            id=row.id,
            owner=row.owner,
            name=row.name,
            url=row.url,
            event_types=tuple(row.event_types),
            secret=row.secret,
            old_secret=row.old_secret,
            old_secret_until=row.old_secret_until,
            created_at=row.created_at,
            updated_at=row.updated_at,
        )

    @property
    def hint(self) -> str:
        """A hint that identifies the secret to its holder."""
        return signing.hint(self.secret)

    def secrets_at(self, now: float) -> tuple[str, ...]:
        """Return the secrets that sign requests at the time `now`: the current one, and an old one if still valid."""
        old = self.old_secret if self.old_secret_until is not None and now < self.old_secret_until else None
        return (self.secret,) if old is None else (self.secret, old)


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A delivery that this process has claimed: an event for an endpoint. `attempt` counts the claims, from 1."""

    id: int
    attempt: int
    event_id: str
    type: str
    subject: str
    created_at: float
    endpoint_id: str
    owner: str
    url: str
    secrets: tuple[str, ...] = field(repr=False)
