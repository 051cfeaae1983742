"""Claims and outcomes of deliveries, on both databases."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import select, text

from app.db.database import Database
from app.db.tables import WebhookDeliveryRow
from app.webhooks import deliveries, outbox
from app.webhooks.deliveries import RetryPolicy
from app.webhooks.records import Delivery
from tests.webhooks.fixtures import SECRET, SUCCEEDED, add_endpoint
from tests.webhooks.fixtures import deliveries as rows


def enqueue(database: Database, count: int = 1, owner: str = "alice", now: float = 0.0) -> None:
    """Enqueue events that become due one second after another."""
    with database.transaction() as session:
        for number in range(count):
            outbox.enqueue(session, owner, SUCCEEDED, f"ftjob-{owner}-{number}", now + number)


def claim(
    database: Database, now: float = 100.0, attempts: int = 9, busy: tuple[str, ...] = (), owners: tuple[str, ...] = ()
) -> Delivery | None:
    with database.transaction() as session:
        return deliveries.claim(session, now, 30.0, attempts, busy, owners)


def due(database: Database, busy: tuple[str, ...] = (), owners: tuple[str, ...] = ()) -> float | None:
    with database.read() as session:
        return deliveries.next_due(session, busy, owners)


def settle(database: Database, delivery: Delivery, error: str | None, retry_after: float | None = None) -> bool:
    with database.transaction() as session:
        return deliveries.settle(session, delivery, error, retry_after, 200.0)


def test_the_oldest_delivery_that_is_due_is_claimed_with_its_endpoint(database: Database) -> None:
    endpoint = add_endpoint(database, url="https://a.example/x")
    enqueue(database, 2)
    delivery = claim(database)
    assert delivery is not None
    assert (delivery.subject, delivery.attempt, delivery.endpoint_id) == ("ftjob-alice-0", 1, endpoint)
    assert (delivery.owner, delivery.url, delivery.secrets) == ("alice", "https://a.example/x", (SECRET,))
    assert SECRET not in repr(delivery)
    assert claim(database, now=0.5) is None


def test_only_one_of_many_processes_claims_a_delivery(database: Database) -> None:
    add_endpoint(database)
    enqueue(database, 5)
    claimed: list[Delivery] = []

    def work() -> None:
        while (delivery := claim(database)) is not None:
            claimed.append(delivery)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(delivery.subject for delivery in claimed) == [f"ftjob-alice-{n}" for n in range(5)]
    assert {delivery.attempt for delivery in claimed} == {1}


def test_a_claim_ends_with_its_time_and_its_late_outcome_is_ignored(database: Database) -> None:
    add_endpoint(database)
    enqueue(database)
    frozen = claim(database)
    assert frozen is not None and due(database) == 130.0
    assert claim(database, now=129.0) is None
    again = claim(database, now=131.0)
    assert again is not None and (again.attempt, again.event_id) == (2, frozen.event_id)
    assert not settle(database, frozen, None)
    assert rows(database)[0].status == "waiting"
    assert settle(database, again, None)
    assert not settle(database, again, "late")
    [row] = rows(database)
    assert (row.status, row.error, row.ended_at) == ("delivered", None, 200.0)
    assert due(database) is None


def test_a_failed_attempt_is_repeated_until_the_last(database: Database) -> None:
    add_endpoint(database)
    enqueue(database)
    delivery = claim(database)
    assert delivery is not None and settle(database, delivery, "the endpoint answered 500", 60.0)
    [row] = rows(database)
    assert (row.status, row.error, row.due_at) == ("waiting", "the endpoint answered 500", 260.0)
    delivery = claim(database, now=261.0)
    assert delivery is not None and settle(database, delivery, "the endpoint answered 501")
    [row] = rows(database)
    assert (row.status, row.error, row.ended_at) == ("failed", "the endpoint answered 501", 200.0)


def test_an_event_that_ends_the_program_each_time_is_given_up(database: Database) -> None:
    add_endpoint(database)
    enqueue(database, 2)
    for time in (100.0, 200.0):
        for _ in range(2):
            assert claim(database, now=time, attempts=2) is not None
    assert claim(database, now=300.0, attempts=2) is None
    assert {(row.status, row.error) for row in rows(database)} == {("failed", deliveries.INTERRUPTED)}


def test_an_old_event_is_given_up(database: Database) -> None:
    add_endpoint(database)
    enqueue(database, 2)
    delivery = claim(database)
    assert delivery is not None and settle(database, delivery, "the endpoint answered 500", 60.0)
    assert claim(database, now=deliveries.OLDEST_SECONDS + 2.0) is None
    assert [(row.status, row.error) for row in rows(database)] == [
        ("failed", "the endpoint answered 500"),
        ("failed", deliveries.EXPIRED),
    ]


@pytest.mark.parametrize(("delay", "until"), [(5.0, 160.0), (300.0, 400.0), (9000.0, 700.0)])
def test_an_endpoint_without_an_answer_pauses_for_all_its_events(
    database: Database, delay: float, until: float
) -> None:
    add_endpoint(database)
    add_endpoint(database, owner="bob")
    enqueue(database, 3)
    enqueue(database, owner="bob")
    delivery = claim(database)
    assert delivery is not None
    with database.transaction() as session:
        deliveries.pause(session, delivery, delay, 100.0)
    assert [row.due_at for row in rows(database)] == [130.0, until, until, 0.0]


def test_endpoints_and_owners_can_be_skipped(database: Database) -> None:
    first, second = add_endpoint(database), add_endpoint(database, owner="bob")
    enqueue(database)
    enqueue(database, owner="bob", now=7.0)
    delivery = claim(database, busy=(first,))
    assert delivery is not None and delivery.endpoint_id == second
    assert (due(database, busy=(second,)), due(database, owners=("alice",))) == (0.0, 130.0)
    assert claim(database, owners=("alice", "bob")) is None


def test_owners_take_turns(database: Database) -> None:
    for number, owner in enumerate(("alice", "bob", "carol")):
        add_endpoint(database, owner=owner)
        enqueue(database, 2, owner=owner, now=float(number))
    served = []
    for skipped in ((), ("alice",), ("alice", "bob"), ("bob", "alice")):
        with database.transaction() as session:
            delivery = deliveries.claim(session, 100.0, 30.0, 9, (), (), skipped)
        assert delivery is not None
        served.append(delivery.subject)
    assert served == ["ftjob-alice-0", "ftjob-bob-0", "ftjob-carol-0", "ftjob-carol-1"]


def test_a_rotated_secret_signs_until_its_time_is_over(database: Database) -> None:
    add_endpoint(database, old_secret="whsec_b2xk", old_secret_until=150.0)
    enqueue(database, 2)
    early, late = claim(database, now=149.0), claim(database, now=151.0)
    assert early is not None and early.secrets == (SECRET, "whsec_b2xk")
    assert late is not None and late.secrets == (SECRET,)


def test_ended_deliveries_are_forgotten(database: Database) -> None:
    add_endpoint(database)
    enqueue(database, 3)
    for outcome in (None, "failed"):
        delivery = claim(database)
        assert delivery is not None and settle(database, delivery, outcome)
    with database.transaction() as session:
        outbox.enqueue(session, "alice", SUCCEEDED, "ftjob-late", 300.0)
    for before, left in ((2.0, 4), (200.0, 3), (201.0, 1)):  # the third event was never sent; the last one still waits
        with database.transaction() as session:
            deliveries.forget(session, before)
        assert len(rows(database)) == left


@pytest.mark.postgres
def test_rows_that_are_being_deleted_do_not_stop_others(postgres_database: Database) -> None:
    database = postgres_database
    add_endpoint(database)
    enqueue(database, 2)
    for _ in range(2):
        delivery = claim(database)
        assert delivery is not None and settle(database, delivery, None)
    with database.transaction() as held, database.transaction() as session:
        session.execute(text("SET LOCAL lock_timeout = '1s'"))
        held.execute(select(WebhookDeliveryRow.id).order_by(WebhookDeliveryRow.id).limit(1).with_for_update()).all()
        deliveries.forget(session, 201.0)
    assert [row.subject for row in rows(database)] == ["ftjob-alice-0"]


def test_delays_grow_to_six_hours_and_take_three_days_in_total() -> None:
    policy = RetryPolicy(20, 5.0)
    assert 4.0 <= policy.delay(1) <= 6.0 and 12.0 <= policy.delay(2) <= 18.0
    assert policy.delay(10**6) <= 1.2 * 21_600
    total = sum(policy.delay(attempt) for attempt in range(1, 20))
    assert total == pytest.approx(70.5 * 3600, rel=0.2)
