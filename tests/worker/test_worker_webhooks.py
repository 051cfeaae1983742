"""A worker sends webhooks about jobs that have ended, even while another job is running."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import openai

from app.webhooks.events import EVENT_TYPES
from app.worker.resources import Resources
from app.worker.worker import BATCHES, Worker
from tests.jobs.batch_fixtures import queue_of, with_fake_batches
from tests.jobs.fixtures import OWNER, Queue, until
from tests.webhooks.fixtures import SECRET, add_endpoint, deliveries
from tests.webhooks.receiver import LOOPBACK, Receiver
from tests.worker.running import LONG, reached, working

FAILS = {"fail": {"code": "invalid_training_file", "message": "no rows", "param": "training_file"}}
TRIAL = {"training": {}, "parameters": 4, "steps": 2, "work": 1.0}


def test_exactly_the_promised_events_arrive(queue: Queue, resources: Resources) -> None:
    """The receiver fails twice. It verifies each signature with OpenAI's package."""
    settings = msgspec.structs.replace(
        resources.settings, webhook_networks=LOOPBACK, webhook_retry_seconds=0.05, webhook_timeout=20.0
    )
    client = openai.OpenAI(api_key="none", webhook_secret=SECRET)
    with Receiver([500, 503]) as receiver, working(replace(resources, settings=settings)):
        add_endpoint(queue.database, OWNER, url=receiver.url)
        add_endpoint(queue.database, OWNER, url=receiver.url, event_types=[EVENT_TYPES[2]])
        add_endpoint(queue.database, "bob", url=receiver.url)
        ended = [queue.create(plan={"steps": 2}), queue.create(plan=FAILS)]
        trials = [TRIAL | {"model": model} for model in ("gru", "lstm")]
        automatic = queue.create(model="auto", plan={"steps": 2, "trials": trials})
        until(lambda: queue.get(automatic).status == "succeeded")
        running = queue.create(plan=LONG)
        until(reached(queue, running))
        waiting = queue.create(plan=LONG)
        queue.jobs.cancel(waiting.id, OWNER)
        # The worker is busy with the job that is running.
        until(lambda: [row.status for row in deliveries(queue.database)] == ["delivered"] * 5)
        assert queue.get(running).status == "running"
        queue.jobs.pause(running.id, OWNER)
        until(lambda: queue.get(running).status == "paused")
    events = [client.webhooks.unwrap(request.body, request.headers) for request in receiver.accepted]
    cancelled = ("fine_tuning.job.cancelled", waiting.id)
    assert sorted((event.type, event.data.id) for event in events) == sorted(
        [
            ("fine_tuning.job.succeeded", ended[0].id),
            ("fine_tuning.job.failed", ended[1].id),
            ("fine_tuning.job.succeeded", automatic.id),  # and none for its trials
            cancelled,
            cancelled,
        ]
    )
    assert [request.status for request in receiver.received].count(200) == len(receiver.received) - 2 == 5


def test_the_events_of_batches_arrive(queue: Queue, resources: Resources) -> None:
    settings = msgspec.structs.replace(resources.settings, webhook_networks=LOOPBACK, webhook_timeout=20.0)
    resources = with_fake_batches(replace(resources, settings=settings))
    batches = queue_of(resources)
    client = openai.OpenAI(api_key="none", webhook_secret=SECRET)
    with Receiver([]) as receiver, working(resources):
        add_endpoint(queue.database, OWNER, url=receiver.url)
        cancelled = batches.create()
        batches.batches.jobs.cancel(cancelled.id, OWNER)
        ended = [batches.create(), batches.create(content=b"{")]
        for _ in ended:
            assert until(Worker(resources, "here", BATCHES).step)
        until(lambda: [row.status for row in deliveries(queue.database)] == ["delivered"] * 3)
    events = [client.webhooks.unwrap(request.body, request.headers) for request in receiver.accepted]
    assert sorted((event.type, event.data.id) for event in events) == [
        ("batch.cancelled", cancelled.id),
        ("batch.completed", ended[0].id),
        ("batch.failed", ended[1].id),
    ]


def test_a_worker_sends_no_events_to_the_endpoints_of_revoked_keys(queue: Queue, resources: Resources) -> None:
    settings = msgspec.structs.replace(
        resources.settings, webhook_networks=LOOPBACK, webhook_timeout=20.0, api_keys="ann:a-long-secret"
    )
    with Receiver() as receiver, working(replace(resources, settings=settings)):
        ids = {owner: add_endpoint(queue.database, owner, url=receiver.url) for owner in ("gone", "ann")}
        revoked, kept = (queue.create(owner=owner, plan={"steps": 2}) for owner in ("gone", "ann"))
        until(lambda: len(receiver.accepted) == 1)
        until(lambda: queue.get(revoked).status == queue.get(kept).status == "succeeded")
        until(
            lambda: {row.endpoint_id: row.status for row in deliveries(queue.database)}.get(ids["ann"]) == "delivered"
        )
    assert {row.endpoint_id: row.status for row in deliveries(queue.database)} == {
        ids["gone"]: "waiting", ids["ann"]: "delivered",
    }  # fmt: skip
