"""Kills the worker three times during a batch, and measures how much other batches slow down a client's requests.

The client sends classifications during a batch of classifications, and completions during a batch of completions.
"""

from __future__ import annotations

import json
import statistics
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.accept.kills import sentences, train_classifier
from benchmarks.accept.record import Record
from benchmarks.bench import corpus
from benchmarks.service import Service, checked, running, wait_until

REQUESTS, KILLS = 2_000, 3
SAMPLES = 400  # requests that are timed during a batch, and before and after it
ENDS = ("completed", "failed", "expired", "cancelled")
SETTINGS = {"OSTINATO_LEASE_SECONDS": "5"}
MODEL, WRITER = "killed-judge", "killed-writer"
TINY = {"max_steps": 30, "width": 128, "layers": 1}


@dataclass(frozen=True)
class Load:
    """The requests of a batch, and the shorter requests that a client sends to the same model at the same time."""

    endpoint: str
    requests: int  # in the batch; more than can be answered while the client is measured
    body: Callable[[int], dict[str, Any]]
    interactive: Callable[[Service, str], Any]


CLASSIFYING = Load(
    "/v1/classify",
    50_000,
    lambda number: {"model": MODEL, "input": f"request {number}, so it is {'very ' * (number % 40)}long"},
    lambda service, text: service.classify(MODEL, [text]),
)
GENERATING = Load(
    "/v1/completions",
    20_000,
    lambda number: {"model": WRITER, "prompt": f"{number} It was", "max_tokens": 128, "ignore_eos": True},
    lambda service, text: service.complete(WRITER, text, max_tokens=16, ignore_eos=True),
)
LOADS = {"classifications": CLASSIFYING, "completions": GENERATING}


def start_batch(service: Service, folder: Path, name: str, load: Load, count: int) -> dict[str, Any]:
    path = folder / f"{name}.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            line = {"custom_id": f"{name}-{number}", "method": "POST", "url": load.endpoint, "body": load.body(number)}
            file.write(json.dumps(line) + "\n")
    with path.open("rb") as stream:
        stored = checked(service.client.post("/v1/files", data={"purpose": "batch"}, files={"file": stream}))
    body = {"input_file_id": stored["id"], "endpoint": load.endpoint, "completion_window": "24h"}
    return checked(service.client.post("/v1/batches", json=body))


def batch(service: Service, batch_id: str) -> dict[str, Any]:
    return checked(service.client.get(f"/v1/batches/{batch_id}"))


def answer_count(service: Service, batch_id: str) -> int:
    counts = batch(service, batch_id)["request_counts"]
    return int(counts["completed"]) + int(counts["failed"])


def finish(service: Service, batch_id: str, seconds: float) -> dict[str, Any]:
    def ended() -> dict[str, Any] | None:
        current = batch(service, batch_id)
        return current if current["status"] in ENDS else None

    done: dict[str, Any] = wait_until(ended, seconds, f"the end of {batch_id}")
    return done


def output(service: Service, done: dict[str, Any]) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = []
    for name in ("output_file_id", "error_file_id"):
        if done[name] is not None:
            text = service.client.get(f"/v1/files/{done[name]}/content").text
            lines += [json.loads(line) for line in text.splitlines()]
    return lines


def check_kills(record: Record, service: Service, folder: Path) -> None:
    """Kill the worker three times, each time after new answers, and check that each request has exactly one answer."""
    started = time.monotonic()
    batch_id = start_batch(service, folder, "killed", CLASSIFYING, REQUESTS)["id"]
    killed = 0
    for _ in range(KILLS):
        seen = answer_count(service, batch_id)

        def advanced(seen: int = seen) -> bool:
            return answer_count(service, batch_id) > seen

        wait_until(advanced, 120, f"an answer after {seen}", every=0.02)
        if batch(service, batch_id)["status"] != "in_progress":
            break
        service.kill("worker")
        killed += 1
    done = finish(service, batch_id, 900)
    record.equal("kills of the worker during the batch", killed, KILLS)
    record.equal("status after the kills", done["status"], "completed")
    lines = output(service, done)
    times = Counter(line["custom_id"] for line in lines)
    record.equal("requests without an answer", REQUESTS - len(times), 0)
    record.equal("requests with several answers", sum(n > 1 for n in times.values()), 0)
    record.equal("answers with an error", sum(line["response"]["status_code"] != 200 for line in lines), 0)
    record.notes["seconds of the batch with its kills"] = round(time.monotonic() - started, 1)


def latencies(service: Service, load: Load, salt: str) -> list[float]:
    """Return the milliseconds of `SAMPLES` requests of a client, sent one after another."""
    taken: list[float] = []
    for number in range(SAMPLES):
        began = time.perf_counter()
        load.interactive(service, f"{salt} {number}: so it is, and so it was")
        taken.append(1000 * (time.perf_counter() - began))
    return taken


def check_latency(record: Record, service: Service, folder: Path, what: str) -> None:
    """Compare a client's latency during a batch with its latency before and after the batch."""
    load = LOADS[what]
    before = latencies(service, load, "before")
    batch_id = start_batch(service, folder, f"beside-{what}", load, load.requests)["id"]
    wait_until(lambda: answer_count(service, batch_id), 120, "the first answer")
    beside = latencies(service, load, "beside")
    open_still = batch(service, batch_id)["status"] == "in_progress"
    checked(service.client.post(f"/v1/batches/{batch_id}/cancel"))
    rate = answer_count(service, batch_id)
    finish(service, batch_id, 60)
    after = latencies(service, load, "after")
    record.equal(f"{what}: the batch ran during all requests beside it", open_still, True)
    record.at_least(f"{what}: requests of the batch answered meanwhile", rate, 1)
    for name, figure in (("median", statistics.median), ("95th percentile", _p95)):
        alone, loaded = figure(before + after), figure(beside)
        shown = [round(alone, 2), round(loaded, 2)]
        record.notes[f"{what}: {name} of the latency, alone and beside a batch, ms"] = shown
        record.at_most(f"{what}: {name} of the latency beside a batch, times the latency alone", loaded / alone, 2)


def train_writer(service: Service, text: Path) -> None:
    """Train a small language model. Raises RuntimeError if the training run fails."""
    file = service.upload(text)
    job = service.train(model="lstm", training_file=file, task="generation", suffix=WRITER, training=TINY)
    if service.finish(job["id"], 900)["status"] != "succeeded":
        raise RuntimeError(f"the language model was not trained: {service.job(job['id'])['error']}")
    service.complete(WRITER, "It was", max_tokens=1)


def _p95(values: list[float]) -> float:
    return statistics.quantiles(values, n=20)[-1]


def check(record: Record, data: Path | None, folder: Path) -> None:
    with running(folder / "service", settings=SETTINGS) as service:
        labelled = sentences(corpus()[:100_000], folder / "sentences.csv")
        train_classifier(service, service.upload(labelled))
        text = folder / "text.txt"
        text.write_text(corpus()[:200_000], encoding="utf-8")
        train_writer(service, text)
        check_kills(record, service, folder)
        for what in LOADS:
            check_latency(record, service, folder, what)
