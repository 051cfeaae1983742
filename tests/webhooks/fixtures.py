"""Creates and reads endpoints and deliveries of webhooks, directly in the database."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from app.db.database import Database
from app.db.paging import new_id
from app.db.tables import WebhookDeliveryRow, WebhookEndpointRow
from app.webhooks import outbox
from app.webhooks.events import EVENT_TYPES

SUCCEEDED = "fine_tuning.job.succeeded"
SECRET = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="


def add_endpoint(database: Database, owner: str = "alice", **values: Any) -> str:
    """Add an endpoint for all types of events, and return its id."""
    id_ = new_id("whe")
    fields = {
        "name": "receiver",
        "url": "https://example.com/webhooks",
        "event_types": list(EVENT_TYPES),
        "secret": SECRET,
        "created_at": 0.0,
        "updated_at": 0.0,
    }
    with database.transaction() as session:
        session.add(WebhookEndpointRow(id=id_, owner=owner, **(fields | values)))
    return id_


def enqueue(database: Database, *subjects: str, type_: str = SUCCEEDED, owner: str = "alice") -> None:
    """Enqueue one event for each of the subjects, in one transaction."""
    with database.transaction() as session:
        for subject in subjects:
            outbox.enqueue(session, owner, type_, subject, database.now(session))


def deliveries(database: Database) -> list[WebhookDeliveryRow]:
    """All deliveries, oldest first."""
    with database.read() as session:
        return list(session.scalars(select(WebhookDeliveryRow).order_by(WebhookDeliveryRow.id)))


def events(database: Database) -> list[tuple[str, str, str]]:
    """The endpoint, type and subject of all deliveries, oldest first."""
    return [(row.endpoint_id, row.type, row.subject) for row in deliveries(database)]
