"""Enqueues webhook events, in the same transaction as the change that they report."""

from __future__ import annotations

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db.paging import new_id
from app.db.tables import WebhookDeliveryRow, WebhookEndpointRow
from app.db.upserts import insert_into
from app.webhooks.events import EVENT_TYPES

WAITING, DELIVERED, FAILED = "waiting", "delivered", "failed"  # the statuses of deliveries
WAITING_LIMIT = 1000  # maximum number of waiting deliveries for one endpoint, which may never answer
TOO_MANY = f"the event was discarded, because {WAITING_LIMIT} events were waiting for this endpoint"


def enqueue(session: Session, owner: str, type_: str, subject: str, now: float) -> None:
    """Enqueue an event for the endpoints of `owner` that have selected its type.

    Call this in the transaction that ends the job or batch `subject`, so that the event is sent if and only if the
    change is committed. `type_` is one of `EVENT_TYPES`, and `now` is the current time according to the database's
    clock. Has no effect if the event is already enqueued. If too many events are waiting for an endpoint, the delivery
    to this endpoint fails immediately. Raises ValueError for an unknown type.
    """
    if type_ not in EVENT_TYPES:
        raise ValueError(f"{type_!r} is not an event type")
    # The lock prevents an endpoint from being deleted before the commit: the new row would refer to a missing endpoint.
    query = select(WebhookEndpointRow.id, WebhookEndpointRow.event_types).where(WebhookEndpointRow.owner == owner)
    endpoints = session.execute(query.with_for_update(read=True, key_share=True)).all()
    full = _full(session, [endpoint.id for endpoint in endpoints])
    event_id = new_id("evt")
    rows = [
        {
            "endpoint_id": endpoint.id,
            "event_id": event_id,
            "type": type_,
            "subject": subject,
            "status": FAILED if endpoint.id in full else WAITING,
            "attempt": 0,
            "due_at": now,
            "created_at": now,
            "error": TOO_MANY if endpoint.id in full else None,
            "ended_at": now if endpoint.id in full else None,
            "failed_at": now if endpoint.id in full else None,
        }
        for endpoint in endpoints
        if type_ in endpoint.event_types
    ]
    if rows:
        insert, unique = insert_into(session, WebhookDeliveryRow), ("endpoint_id", "type", "subject")
        session.execute(insert.on_conflict_do_nothing(index_elements=unique), rows)


def _full(session: Session, endpoint_ids: list[str]) -> set[str]:
    row = WebhookDeliveryRow
    waiting = select(row.endpoint_id).where(row.endpoint_id.in_(endpoint_ids), row.status == WAITING)
    return set(session.scalars(waiting.group_by(row.endpoint_id).having(func.count() >= WAITING_LIMIT)))
