"""Kills the worker of a batch of 2,000 requests three times, and measures other requests during a second batch."""

from __future__ import annotations

import json
import statistics
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.accept.kills import sentences, train_classifier
from benchmarks.accept.record import Record
from benchmarks.bench import corpus
from benchmarks.service import Service, checked, running, wait_until

REQUESTS, KILLS = 2_000, 3
SAMPLES = 400  # requests beside the batch, and without it
ENDS = ("completed", "failed", "expired", "cancelled")
SETTINGS = {"OSTINATO_LEASE_SECONDS": "5"}
MODEL = "killed-judge"


def start_batch(service: Service, folder: Path, name: str, count: int) -> dict[str, Any]:
    path = folder / f"{name}.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            body = {"model": MODEL, "input": f"request {number}, so it is {'very ' * (number % 40)}long"}
            line = {"custom_id": f"{name}-{number}", "method": "POST", "url": "/v1/classify", "body": body}
            file.write(json.dumps(line) + "\n")
    with path.open("rb") as stream:
        stored = checked(service.client.post("/v1/files", data={"purpose": "batch"}, files={"file": stream}))
    body = {"input_file_id": stored["id"], "endpoint": "/v1/classify", "completion_window": "24h"}
    return checked(service.client.post("/v1/batches", json=body))


def batch(service: Service, batch_id: str) -> dict[str, Any]:
    return checked(service.client.get(f"/v1/batches/{batch_id}"))


def answered(service: Service, batch_id: str) -> int:
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
    batch_id = start_batch(service, folder, "killed", REQUESTS)["id"]
    killed = 0
    for _ in range(KILLS):
        seen = answered(service, batch_id)

        def advanced(seen: int = seen) -> bool:
            return answered(service, batch_id) > seen

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


def latencies(service: Service, salt: str, goes_on: Callable[[], bool]) -> list[float]:
    """Return the milliseconds of up to `SAMPLES` requests, sent one after another while `goes_on()` is true."""
    taken: list[float] = []
    while len(taken) < SAMPLES and goes_on():
        began = time.perf_counter()
        service.classify(MODEL, [f"{salt} {len(taken)}: so it is, and so it was"])
        taken.append(1000 * (time.perf_counter() - began))
    return taken


def check_latency(record: Record, service: Service, folder: Path) -> None:
    """Compare a client's latency during a batch with its latency before and after the batch."""
    before = latencies(service, "before", lambda: True)
    batch_id = start_batch(service, folder, "beside", 50_000)["id"]
    wait_until(lambda: answered(service, batch_id), 120, "the first answer")
    beside = latencies(service, "beside", lambda: True)
    open_still = batch(service, batch_id)["status"] == "in_progress"
    checked(service.client.post(f"/v1/batches/{batch_id}/cancel"))
    rate = answered(service, batch_id)
    finish(service, batch_id, 60)
    after = latencies(service, "after", lambda: True)
    record.equal("the batch ran during all requests beside it", open_still, True)
    record.notes["requests of the batch answered meanwhile"] = rate
    for name, figure in (("median", statistics.median), ("95th percentile", _p95)):
        alone, loaded = figure(before + after), figure(beside)
        record.notes[f"{name} of the latency, alone and beside a batch, ms"] = [round(alone, 2), round(loaded, 2)]
        record.at_most(f"{name} of the latency beside a batch, times the latency alone", loaded / alone, 2)


def _p95(values: list[float]) -> float:
    return statistics.quantiles(values, n=20)[-1]


def check(record: Record, data: Path | None, folder: Path) -> None:
    with running(folder / "service", settings=SETTINGS) as service:
        labelled = sentences(corpus()[:100_000], folder / "sentences.csv")
        train_classifier(service, service.upload(labelled))
        check_kills(record, service, folder)
        check_latency(record, service, folder)
