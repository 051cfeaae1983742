"""Events are enqueued for the endpoints of their owner, together with the change that they report."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from sqlalchemy import delete
from sqlalchemy.orm import Session

from app.db.database import Database
from app.db.tables import WebhookEndpointRow
from app.webhooks import outbox
from tests.db.locks import is_a_transaction_waiting
from tests.serving import wait_until
from tests.webhooks.fixtures import SUCCEEDED, add_endpoint, deliveries, enqueue, events

FAILED = "fine_tuning.job.failed"


def test_an_event_goes_to_the_endpoints_of_its_owner_that_selected_its_type(database: Database) -> None:
    first, second = add_endpoint(database), add_endpoint(database, event_types=[FAILED])
    add_endpoint(database, owner="bob")
    enqueue(database, "ftjob-1")
    enqueue(database, "ftjob-2", type_=FAILED)
    assert sorted(events(database)) == sorted(
        [(first, SUCCEEDED, "ftjob-1"), (first, FAILED, "ftjob-2"), (second, FAILED, "ftjob-2")]
    )
    rows = deliveries(database)
    assert len({row.event_id for row in rows}) == 2
    assert {(row.status, row.attempt) for row in rows} == {("waiting", 0)}


def test_events_fail_at_once_if_too_many_wait_for_an_endpoint(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "WAITING_LIMIT", 2)
    add_endpoint(database)
    for number in range(4):
        enqueue(database, f"ftjob-{number}")
    rows = deliveries(database)
    assert [row.status for row in rows] == ["waiting", "waiting", "failed", "failed"]
    assert [row.error for row in rows[1:]] == [None, outbox.TOO_MANY, outbox.TOO_MANY]
    assert rows[2].ended_at is not None


def test_an_event_is_enqueued_only_once(database: Database) -> None:
    add_endpoint(database)
    enqueue(database, "ftjob-1")
    enqueue(database, "ftjob-1")
    assert len(deliveries(database)) == 1


def test_an_event_is_not_enqueued_without_its_change(database: Database) -> None:
    add_endpoint(database)
    with pytest.raises(ZeroDivisionError), database.transaction() as session:
        outbox.enqueue(session, "alice", SUCCEEDED, "ftjob-1", 0.0)
        raise ZeroDivisionError
    assert deliveries(database) == []


def test_an_unknown_type_is_refused(database: Database) -> None:
    with pytest.raises(ValueError, match="is not an event type"):
        enqueue(database, "ftjob-1", type_="job.done")


def remove(database: Database, endpoint: str) -> None:
    with database.transaction() as session:
        session.execute(delete(WebhookEndpointRow).where(WebhookEndpointRow.id == endpoint))


def test_an_endpoint_is_deleted_with_its_deliveries(database: Database) -> None:
    endpoint = add_endpoint(database)
    enqueue(database, "ftjob-1")
    remove(database, endpoint)
    assert deliveries(database) == []
    enqueue(database, "ftjob-1")
    assert deliveries(database) == []


@pytest.mark.postgres
def test_an_endpoint_can_be_deleted_while_an_event_is_being_enqueued(
    postgres_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The deletion begins between the query for the endpoints and the insertion. Neither transaction fails."""
    database, count_waiting = postgres_database, outbox._full
    endpoint = add_endpoint(database)

    def full(session: Session, endpoint_ids: list[str]) -> set[str]:
        removals.append(threads.submit(remove, database, endpoint))
        wait_until(lambda: removals[0].done() or is_a_transaction_waiting(database))
        return count_waiting(session, endpoint_ids)

    monkeypatch.setattr(outbox, "_full", full)
    removals: list[Future[None]] = []
    with ThreadPoolExecutor(1) as threads:
        enqueue(database, "ftjob-1")
        removals[0].result(60)
    assert deliveries(database) == []
