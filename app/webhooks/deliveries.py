"""The SQL for deliveries: claim one that is due, and store its outcome.

The rows are both the queue and the lock. A claim increments `attempt` and sets `due_at` to a time by which the request
must have ended. Until then, no other process sends the event, and if this process ends, another one sends it
afterwards. Every outcome includes its attempt number, so a process that was frozen cannot overwrite the outcome of a
later attempt.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, and_, case, delete, func, select, true, update
from sqlalchemy.orm import Session

from app.db.tables import WebhookDeliveryRow, WebhookEndpointRow
from app.webhooks.outbox import DELIVERED, FAILED, WAITING
from app.webhooks.records import Delivery, WebhookEndpoint

GROWTH = 3.0  # the factor by which the delay grows after each attempt
LONGEST_DELAY = 21_600.0  # seconds
JITTER = 0.2  # maximum random change of a delay, so that an endpoint that was down does not receive all events at once
KEEP_SECONDS = 604_800.0  # how long finished deliveries are kept
OLDEST_SECONDS = 432_000.0  # the age at which a delivery is given up, regardless of the number of its attempts
PAUSE_SECONDS = (60.0, 600.0)  # the shortest and longest pause of an endpoint that has not answered
EXPIRED = "the endpoint has not accepted the event within five days"
INTERRUPTED = "the program ended during the last attempt"


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """The number of attempts, and the delay in seconds before the second attempt.

    Each further delay is three times as long, up to `LONGEST_DELAY`.
    """

    attempts: int
    first_delay: float

    def delay(self, attempt: int) -> float:
        """Return the number of seconds to wait after attempt number `attempt`, which starts at 1."""
        seconds: float = min(self.first_delay * GROWTH ** min(attempt - 1, 30), LONGEST_DELAY)
        return seconds * random.uniform(1 - JITTER, 1 + JITTER)


def claim(
    session: Session,
    now: float,
    hold_seconds: float,
    attempts: int,
    busy: Collection[str],
    owners: Collection[str],
    served: Sequence[str] = (),
    keys: Collection[str] | None = None,
) -> Delivery | None:
    """Claim the delivery that has been due for the longest time. Returns None if there is none.

    Prefers owners that are not in `served`, and then the first owner in `served`, so that owners take turns. Skips the
    endpoints in `busy`, the endpoints of `owners` and, if `keys` is given, those of owners that are not in `keys`. No
    other process can claim the delivery for `hold_seconds`. A delivery fails if it is too old, or if the program ended
    during the last of `attempts` attempts.
    """
    turns = (
        [case({owner: turn for turn, owner in enumerate(served, 1)}, value=WebhookEndpointRow.owner, else_=0)]
        if served
        else []
    )
    due = (
        select(WebhookDeliveryRow.id)
        .join(WebhookEndpointRow, WebhookEndpointRow.id == WebhookDeliveryRow.endpoint_id)
        .where(_waiting(busy, owners, keys), WebhookDeliveryRow.due_at <= now)
        .order_by(*turns, WebhookDeliveryRow.due_at, WebhookDeliveryRow.id)
        .limit(1)
        .with_for_update(skip_locked=True, of=WebhookDeliveryRow)
    )
    while (row_id := session.scalar(due)) is not None:
        row = session.get_one(WebhookDeliveryRow, row_id)
        expired = now - row.created_at > OLDEST_SECONDS
        if row.attempt < attempts and not expired:
            row.attempt, row.due_at = row.attempt + 1, now + hold_seconds
            return _delivery(row, WebhookEndpoint.of(session.get_one(WebhookEndpointRow, row.endpoint_id)), now)
        row.status, row.ended_at = FAILED, now
        if row.error is None:
            row.error, row.failed_at = EXPIRED if expired else INTERRUPTED, now
        session.flush()
    return None


def _delivery(row: WebhookDeliveryRow, endpoint: WebhookEndpoint, now: float) -> Delivery:
    return Delivery(
        id=row.id,
        attempt=row.attempt,
        event_id=row.event_id,
        type=row.type,
        subject=row.subject,
        created_at=row.created_at,
        endpoint_id=endpoint.id,
        owner=endpoint.owner,
        url=endpoint.url,
        secrets=endpoint.secrets_at(now),
    )


def next_due(
    session: Session, busy: Collection[str], owners: Collection[str], keys: Collection[str] | None = None
) -> float | None:
    """Return the time at which the next delivery for `claim` is due, or None if no delivery is waiting."""
    query = select(func.min(WebhookDeliveryRow.due_at)).join(WebhookEndpointRow)
    return session.scalar(query.where(_waiting(busy, owners, keys)))


def list_orphans(session: Session, keys: Collection[str]) -> list[tuple[str, str]]:
    """Return the id and the owner of each endpoint whose owner is not in `keys`."""
    row = WebhookEndpointRow
    orphans = select(row.id, row.owner).where(row.owner.not_in(keys)).order_by(row.owner, row.id)
    return [(id_, owner) for id_, owner in session.execute(orphans)]


def settle(session: Session, delivery: Delivery, error: str | None, retry_after: float | None, now: float) -> bool:
    """Store the outcome of an attempt.

    If `error` is None, the event was delivered. Otherwise, another attempt follows after `retry_after` seconds; if
    `retry_after` is None, the delivery has failed. Returns False if another attempt has claimed the delivery in the
    meantime.
    """
    if error is None:
        values = {"status": DELIVERED, "error": None, "ended_at": now}
    elif retry_after is None:
        values = {"status": FAILED, "error": error, "ended_at": now, "failed_at": now}
    else:
        values = {"error": error, "due_at": now + retry_after, "failed_at": now}
    is_current = and_(
        WebhookDeliveryRow.id == delivery.id,
        WebhookDeliveryRow.attempt == delivery.attempt,
        WebhookDeliveryRow.status == WAITING,
    )
    statement = update(WebhookDeliveryRow).where(is_current).values(**values).returning(WebhookDeliveryRow.id)
    return session.scalar(statement.execution_options(synchronize_session=False)) is not None


def pause(session: Session, unanswered: Delivery, delay: float, now: float) -> None:
    """Postpone the other deliveries to an endpoint that has not answered, by `delay` seconds, clamped to
    `PAUSE_SECONDS`. Otherwise, each delivery would wait until its own request has timed out.
    """
    row, until = WebhookDeliveryRow, now + min(max(delay, PAUSE_SECONDS[0]), PAUSE_SECONDS[1])
    others = and_(row.endpoint_id == unanswered.endpoint_id, row.id != unanswered.id)
    earlier = select(row.id).where(others, row.status == WAITING, row.due_at < until)
    # Skip rows that another process is claiming or settling: waiting for them could cause a deadlock.
    statement = update(row).where(row.id.in_(earlier.with_for_update(skip_locked=True))).values(due_at=until)
    session.execute(statement.execution_options(synchronize_session=False))


def forget(session: Session, before: float) -> None:
    """Delete the deliveries that ended before this time, and those that were enqueued before it and are still waiting.

    A delivery waits that long only if the API key of its owner has been removed, or if no worker has run.
    """
    row = WebhookDeliveryRow
    ended = select(row.id).where(case((row.status == WAITING, row.created_at), else_=row.ended_at) < before)
    # Skip rows that another worker or the deletion of an endpoint has locked: waiting for them could cause a deadlock.
    statement = delete(row).where(row.id.in_(ended.with_for_update(skip_locked=True)))
    session.execute(statement.execution_options(synchronize_session=False))


def _waiting(busy: Collection[str], owners: Collection[str], keys: Collection[str] | None) -> ColumnElement[bool]:
    return and_(
        WebhookDeliveryRow.status == WAITING,
        WebhookDeliveryRow.endpoint_id.not_in(busy),
        WebhookEndpointRow.owner.not_in(owners),
        true() if keys is None else WebhookEndpointRow.owner.in_(keys),
    )
