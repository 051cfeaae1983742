"""Couriers send due events from both databases to real receivers. tests/worker/test_worker_webhooks.py adds jobs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any

import openai
import pytest

from app.access import networks
from app.db.changes import Changes
from app.db.database import Database, DatabaseUnavailable
from app.webhooks import courier as module
from app.webhooks import deliveries as queue
from app.webhooks.courier import Courier
from app.webhooks.deliveries import RetryPolicy
from app.webhooks.sender import Sender
from tests.jobs.fixtures import until
from tests.webhooks.fixtures import SECRET, SUCCEEDED, add_endpoint, deliveries, enqueue
from tests.webhooks.receiver import LOOPBACK, Receiver

client = openai.OpenAI(api_key="none", webhook_secret=SECRET)


def courier(
    database: Database,
    *,
    attempts: int = 5,
    seconds: float = 20.0,
    allowed: str = LOOPBACK,
    keys: set[str] | None = None,
) -> Courier:
    sender = Sender(networks(allowed), seconds)
    return Courier(database, Changes(database), sender, RetryPolicy(attempts, 0.01), seconds, keys)


@contextmanager
def running(database: Database, count: int = 1, **options: Any) -> Iterator[None]:
    """Context manager that runs couriers, as if each of them were in a separate process."""
    couriers = [courier(database, **options) for _ in range(count)]
    with ExitStack() as stack:
        for each in couriers:
            stack.enter_context(each)
        yield
    for each in couriers:
        assert not each._thread.is_alive()
        each._changes.close()


def statuses(database: Database) -> set[str]:
    return {row.status for row in deliveries(database)}


def test_an_event_is_sent_again_until_it_is_accepted_and_then_never_again(database: Database) -> None:
    with Receiver([503, 500]) as receiver, running(database):
        add_endpoint(database, url=receiver.url)
        enqueue(database, "ftjob-1")
        until(lambda: statuses(database) == {"delivered"})
        enqueue(database, "ftjob-2")
        until(lambda: len(receiver.accepted) == 2)
    assert [request.status for request in receiver.received] == [503, 500, 200, 200]
    attempts = receiver.received[:3]
    events = [client.webhooks.unwrap(request.body, request.headers) for request in receiver.received]
    assert [(event.type, event.data.id) for event in events] == [(SUCCEEDED, "ftjob-1")] * 3 + [(SUCCEEDED, "ftjob-2")]
    assert len({request.body for request in attempts}) == len({r.headers["webhook-id"] for r in attempts}) == 1
    rows = deliveries(database)
    assert [row.attempt for row in rows] == [3, 1]
    assert [event.id for event in events[2:]] == [row.event_id for row in rows]
    assert [event.created_at for event in events[2:]] == [int(row.created_at) for row in rows]


def test_couriers_of_several_processes_send_each_event_once(database: Database) -> None:
    subjects = [f"ftjob-{number:03}" for number in range(40)]
    with Receiver() as receiver, running(database, 3):
        for _ in range(2):
            add_endpoint(database, url=receiver.url)
        enqueue(database, *subjects)
        until(lambda: statuses(database) == {"delivered"})
    sent = [client.webhooks.unwrap(request.body, request.headers).data.id for request in receiver.received]
    assert sorted(sent) == sorted(subjects * 2)


def test_attempts_have_an_end(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    with Receiver([404] * 9) as receiver, running(database, attempts=3), caplog.at_level("INFO"):
        add_endpoint(database, url=receiver.url)
        enqueue(database, "ftjob-1")
        until(lambda: statuses(database) == {"failed"})
    [row] = deliveries(database)
    assert (len(receiver.received), row.attempt, row.error) == (3, 3, "the endpoint answered 404")
    assert "given up after attempt 3: the endpoint answered 404" in caplog.text
    assert SECRET not in caplog.text and receiver.url not in caplog.text


@pytest.mark.parametrize(("status", "error"), [(410, "answered 410"), (302, "redirects are not followed")])
def test_an_endpoint_that_is_gone_is_asked_only_once(database: Database, status: int, error: str) -> None:
    with Receiver([status]) as receiver, running(database):
        add_endpoint(database, url=receiver.url)
        enqueue(database, "ftjob-1")
        until(lambda: len(deliveries(database)) == 1 and statuses(database) != {"waiting"})
    [row] = deliveries(database)
    if status == 410:
        assert (row.status, len(receiver.received)) == ("failed", 1) and error in str(row.error)
    else:
        assert (row.status, len(receiver.received)) == ("delivered", 2)  # after the redirect, the next attempt succeeds


def test_an_endpoint_that_is_dead_is_not_tried_for_every_event(database: Database) -> None:
    with Receiver() as receiver:
        dead = add_endpoint(database, url=receiver.url)
    with Receiver() as receiver:
        add_endpoint(database, owner="bob", url=receiver.url)
        enqueue(database, *(f"ftjob-{number}" for number in range(9)))
        enqueue(database, "ftjob-9", owner="bob")
        with running(database, attempts=1):
            until(lambda: len(receiver.accepted) == 1)
    assert [row.attempt for row in deliveries(database) if row.endpoint_id == dead] == [1] + [0] * 8


def test_a_private_address_is_never_reached_without_the_setting(database: Database) -> None:
    with Receiver() as receiver, running(database, attempts=2, allowed="10.0.0.0/8"):
        add_endpoint(database, url=receiver.url)
        enqueue(database, "ftjob-1")
        until(lambda: statuses(database) == {"failed"})
    assert receiver.received == []
    assert "must not resolve to a loopback" in str(deliveries(database)[0].error)


def test_slow_receivers_of_some_owners_do_not_delay_those_of_others(database: Database) -> None:
    release = threading.Event()

    def slow(handler: BaseHTTPRequestHandler) -> None:
        release.wait(30)
        handler.send_response(200)
        handler.end_headers()

    with Receiver(answer=slow) as stuck, Receiver() as receiver, running(database):
        for number in range(20):
            add_endpoint(database, url=stuck.url, owner=("alice", "carol")[number % 2])
        add_endpoint(database, owner="bob", url=receiver.url)
        enqueue(database, "ftjob-1")
        until(lambda: len(stuck.received) == module.OF_ONE_OWNER)
        enqueue(database, "ftjob-3", owner="carol")
        until(lambda: len(stuck.received) == module.AT_ONCE - module.RESERVED)
        enqueue(database, "ftjob-2", owner="bob")
        until(lambda: len(receiver.received) == 1)
        assert len(stuck.received) == module.AT_ONCE - module.RESERVED
        release.set()
        until(lambda: statuses(database) == {"delivered"})
    assert len(stuck.received) == 20


def test_the_claim_of_a_process_that_was_killed_passes_to_another(database: Database) -> None:
    with Receiver() as receiver:
        add_endpoint(database, url=receiver.url)
        enqueue(database, "ftjob-1")
        with database.transaction() as session:
            assert queue.claim(session, database.now(session), 0.5, 5, (), ())
        with running(database):
            until(lambda: statuses(database) == {"delivered"})
    assert [row.attempt for row in deliveries(database)] == [2] and len(receiver.received) == 1


def test_a_process_that_was_frozen_after_its_claim_does_not_send(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HOLD_SECONDS", 0.0)  # as if more time had passed since the claim
    with Receiver() as receiver, running(database, seconds=0.5):
        add_endpoint(database, url=receiver.url)
        enqueue(database, "ftjob-1")
        until(lambda: deliveries(database)[0].attempt == 2)
    assert receiver.received == []


def test_an_outcome_waits_for_the_database(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    failures = [DatabaseUnavailable("the database is not responding")] * 2
    settle, claim = queue.settle, queue.claim

    def fail_once(function: Any) -> Any:
        def call(*arguments: Any) -> Any:
            if failures:
                raise failures.pop()
            return function(*arguments)

        return call

    monkeypatch.setattr(module, "WAIT_SECONDS", 0.01)
    monkeypatch.setattr(module, "POLL_SECONDS", 0.01)
    with Receiver() as receiver, ExitStack() as stack:
        monkeypatch.setattr(queue, "claim", fail_once(claim))
        stack.enter_context(running(database))
        add_endpoint(database, url=receiver.url)
        enqueue(database, "ftjob-1")
        until(lambda: len(receiver.received) == 1)
        until(lambda: statuses(database) == {"delivered"})
        failures.extend([DatabaseUnavailable("the database is not responding")] * 2)
        monkeypatch.setattr(queue, "claim", claim)
        monkeypatch.setattr(queue, "settle", fail_once(settle))
        enqueue(database, "ftjob-2")
        until(lambda: statuses(database) == {"delivered"})
    assert len(receiver.received) == 2 and failures == []


def test_an_event_follows_one_whose_outcome_cannot_be_stored(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()

    def slow(handler: BaseHTTPRequestHandler) -> None:
        release.wait(30)
        handler.send_response(200)
        handler.end_headers()

    monkeypatch.setattr(queue, "settle", lambda *_: 1 / 0)
    with Receiver(answer=slow) as receiver:
        add_endpoint(database, url=receiver.url)
        enqueue(database, "ftjob-1", "ftjob-2")
        with courier(database) as sending:
            until(lambda: sending._quiet is not None)  # the second event waits for the end of the first request
            release.set()
            until(lambda: len(receiver.received) == 2)


def test_a_courier_that_stops_lets_its_requests_end(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GRACE_SECONDS", 60.0)
    arrived, stopped, rest = threading.Event(), threading.Event(), Courier._rest

    async def resting(sending: Courier, seconds: float) -> None:
        await rest(sending, seconds)
        if sending._stopping.is_set():  # nothing more is claimed
            stopped.set()

    def slow(handler: BaseHTTPRequestHandler) -> None:
        arrived.set()
        assert stopped.wait(30)
        handler.send_response(200)
        handler.end_headers()

    monkeypatch.setattr(Courier, "_rest", resting)
    with Receiver(answer=slow) as receiver:
        add_endpoint(database, url=receiver.url)
        enqueue(database, "ftjob-1")
        with running(database):
            assert arrived.wait(30)
    assert statuses(database) == {"delivered"}


def test_the_endpoints_of_a_revoked_key_receive_nothing(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    with Receiver() as receiver:
        revoked = add_endpoint(database, "mallory", url=receiver.url)
        add_endpoint(database, url=receiver.url)
        enqueue(database, "ftjob-1", owner="mallory")
        enqueue(database, "ftjob-2")
        with running(database, keys={"alice"}):
            until(lambda: len(receiver.accepted) == 1)
            enqueue(database, "ftjob-3", owner="mallory")
            enqueue(database, "ftjob-4")
            until(lambda: len(receiver.accepted) == 2)
        assert f"{revoked} receives no events, because its key 'mallory' no longer exists" in caplog.text
        assert {row.subject: row.status for row in deliveries(database)} == {
            "ftjob-1": "waiting", "ftjob-2": "delivered", "ftjob-3": "waiting", "ftjob-4": "delivered",
        }  # fmt: skip
        with running(database, keys={"alice", "mallory"}):  # the key was removed by mistake, and is back
            until(lambda: statuses(database) == {"delivered"})
