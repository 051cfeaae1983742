"""The `openai` package: batches and webhooks."""

from __future__ import annotations

import json
from typing import Any

from calls import COMPLAINT, Calls, same_vectors
from openai_client import client, until

calls = Calls("openai")
UNDER_WAY = ("validating", "in_progress", "finalizing", "cancelling")


def batch_of(*texts: str) -> Any:
    """Create a batch of requests for vectors."""
    lines = [
        {
            "custom_id": f"request-{number}", "method": "POST", "url": "/v1/embeddings",
            "body": {"model": "departments", "input": text},
        }
        for number, text in enumerate(texts)
    ]  # fmt: skip
    content = "\n".join(map(json.dumps, lines)).encode()
    requests = client.files.create(file=("requests.jsonl", content), purpose="batch")
    return client.batches.create(input_file_id=requests.id, endpoint="/v1/embeddings", completion_window="24h")


def run_batch() -> tuple[Any, list[Any]]:
    """Return a finished batch, and the lines of its output file."""
    batch = batch_of(COMPLAINT)
    done = until(lambda b: b.status not in UNDER_WAY, lambda: client.batches.retrieve(batch.id))
    return done, [json.loads(line) for line in client.files.content(done.output_file_id).text.splitlines()]


def cancel_batch() -> Any:
    batch = client.batches.cancel(batch_of(*[COMPLAINT] * 20_000).id)
    return until(lambda b: b.status not in UNDER_WAY, lambda: client.batches.retrieve(batch.id))


def right_vector(line: Any) -> bool:
    """Whether an output line has the vector that the route returns."""
    return same_vectors([line["response"]["body"]["data"][0]["embedding"]], COMPLAINT)


calls.works(
    "batches.create, retrieve, output",
    run_batch,
    lambda done: (
        done[0].status == "completed"
        and len(done[1]) == 1
        and done[1][0]["custom_id"] == "request-0"
        and right_vector(done[1][0])
    ),
)
calls.works("batches.list", lambda: client.batches.list().data, lambda data: data[0].status == "completed")
calls.works("batches.cancel", cancel_batch, lambda b: b.status == "cancelled")
if hasattr(getattr(client, "webhooks", None), "create"):
    hook = {"name": "suite", "url": "https://example.com/webhooks", "event_types": ["batch.completed"]}
    endpoint = client.webhooks.create(**hook)
    calls.works("webhooks.create", lambda: endpoint, lambda e: e.signing_secret.startswith("whsec_"))
    calls.works("webhooks.retrieve", lambda: client.webhooks.retrieve(endpoint.id), lambda e: e.url == hook["url"])
    calls.works("webhooks.update", lambda: client.webhooks.update(endpoint.id, name="a"), lambda e: e.name == "a")
    calls.works("webhooks.list", lambda: [e.id for e in client.webhooks.list()], lambda ids: endpoint.id in ids)
    calls.works(
        "webhooks.rotate_secret",
        lambda: client.webhooks.rotate_secret(endpoint.id).signing_secret,
        lambda secret: secret != endpoint.signing_secret,
    )
    calls.works(
        "webhooks.event_types.list", lambda: client.webhooks.event_types.list().data, lambda d: "batch.failed" in d
    )
    calls.refused(
        "webhooks.create, private address",
        lambda: client.webhooks.create(**{**hook, "url": "https://10.0.0.1/webhooks"}),
        "url must not resolve to a loopback",
    )
    silent = client.webhooks.create(**{**hook, "url": "https://receiver.invalid/webhooks"})
    calls.refused(
        "webhooks.test, no receiver",
        lambda: client.webhooks.test(silent.id, event_type="batch.completed"),
        "the test event was not answered",
    )
    client.webhooks.delete(silent.id)
    calls.works("webhooks.delete", lambda: client.webhooks.delete(endpoint.id), lambda d: d.deleted)
else:
    calls.missing("webhooks.create", "this release only verifies signatures")
calls.report()
