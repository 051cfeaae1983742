"""The errors that clients see for webhook endpoints and their events, on both databases."""

from __future__ import annotations

import pytest

from app.db.database import Database
from app.webhooks import deliveries, outbox
from app.webhooks.sender import Sender
from app.webhooks.service import Webhooks
from tests.webhooks.fixtures import add_endpoint


def test_the_error_of_an_endpoint_is_that_of_its_latest_failure(database: Database) -> None:
    endpoint = add_endpoint(database)
    other = add_endpoint(database, owner="bob")
    service = Webhooks(database, Sender([], 1.0), [], 10)
    with database.transaction() as session:
        for subject in ("ftjob-1", "ftjob-2"):
            outbox.enqueue(session, "alice", "fine_tuning.job.succeeded", subject, 0.0)
        first, second = (deliveries.claim(session, 1.0, 30.0, 9, (), ()) for _ in range(2))
        assert first is not None and second is not None and first.id < second.id
        assert deliveries.settle(session, second, "the endpoint answered 500", 600.0, 2.0)
        assert deliveries.settle(session, first, "the endpoint answered 404", None, 3.0)
    assert service.get(endpoint, "alice").error == "the endpoint answered 404"
    with database.transaction() as session:
        again = deliveries.claim(session, 700.0, 30.0, 9, (), ())
        assert again is not None and again.id == second.id
        assert deliveries.settle(session, again, "the endpoint answered 502", 600.0, 701.0)
    assert [each.error for each in service.list("local").items if each.id == endpoint] == ["the endpoint answered 502"]
    assert service.get(other, "bob").error is None


def test_the_error_of_an_event_that_was_never_sent_is_shown(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "WAITING_LIMIT", 1)
    endpoint = add_endpoint(database)
    with database.transaction() as session:
        for number in range(2):
            outbox.enqueue(session, "alice", "batch.completed", f"batch-{number}", float(number))
    assert Webhooks(database, Sender([], 1.0), [], 10).get(endpoint, "alice").error == outbox.TOO_MANY
