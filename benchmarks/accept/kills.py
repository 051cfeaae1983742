"""Sends kill -9 to the engine, worker and trainer while they work, three times each, with SQLite and with
PostgreSQL.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

from benchmarks.accept.record import Record, Skip
from benchmarks.bench import corpus
from benchmarks.postgres import Missing, cluster
from benchmarks.service import ENDED, Service, outcome, wait_until
from benchmarks.service import running as started

TIMES = 3
STEPS = 400
SETTINGS = {"OSTINATO_LEASE_SECONDS": "5", "OSTINATO_RESUME_EVERY_SECONDS": "2"}
JOBS: dict[str, dict[str, Any]] = {
    "lstm": {"model": "lstm", "training": {"max_steps": STEPS, "width": 128, "layers": 1}},
    "transformer": {"model": "transformer", "training": {"max_steps": STEPS, "width": 64, "layers": 2}},
}


def weights(service: Service, job: Mapping[str, Any]) -> str:
    """Return the SHA-256 of the weights that a job has published."""
    digest: str = service.version(job["fine_tuned_model"])["files"]["model.safetensors"]["sha256"]
    return digest


def last_step(service: Service, job_id: str) -> int:
    """Return the newest step in the job's metrics, or 0 if there are none yet."""
    page = service.client.get(f"/v1/fine_tuning/jobs/{job_id}/events", params={"limit": 30}).json()["data"]
    return max((e["data"].get("step", 0) for e in page if e["type"] == "metrics"), default=0)


def train(service: Service, file: str, which: str) -> dict[str, Any]:
    return service.train(training_file=file, task="generation", suffix=f"killed-{which}", seed=7, **JOBS[which])


def kill_during(service: Service, job_id: str, times: int = TIMES) -> dict[str, int]:
    """Kill the trainer and the worker in turn while the job is running. Returns the number of kills of each."""
    hits: Counter[str] = Counter()
    for number in range(2 * times):
        program = ("trainer", "worker")[number % 2]
        # wait for progress after the previous kill, so that each kill interrupts training
        seen = last_step(service, job_id)

        def advanced(seen: int = seen) -> bool:
            return last_step(service, job_id) > seen or service.job(job_id)["status"] in ENDED

        wait_until(advanced, 120, f"a step beyond {seen}", every=0.1)
        if service.job(job_id)["status"] in ENDED:
            break
        service.kill(program)
        hits[program] += 1
    return dict(hits)


def check_training(record: Record, service: Service, backend: str, file: str) -> None:
    for which in JOBS:
        name = f"{backend} {which}"
        whole = service.finish(train(service, file, which)["id"], 900)
        record.equal(f"{name} uninterrupted", whole["status"], "succeeded")
        job_id = train(service, file, which)["id"]
        hits = kill_during(service, job_id)
        record.equal(f"{name} kills in mid-training", hits, {"trainer": TIMES, "worker": TIMES})
        killed = service.finish(job_id, 900)
        record.equal(f"{name} after the kills", killed["status"], "succeeded")
        record.equal(f"{name} SHA-256 of the weights", weights(service, killed), weights(service, whole))
        events = service.events(job_id)
        steps = Counter(e["data"]["step"] for e in events if e["type"] == "metrics")
        record.equal(f"{name} duplicate metric events", sum(n > 1 for n in steps.values()), 0)
        steps_of = [
            {e["data"]["step"] for e in service.events(j) if e["type"] == "metrics"} for j in (whole["id"], job_id)
        ]
        record.equal(f"{name} metric events missing", len(steps_of[0] - steps_of[1]), 0)
        record.equal(f"{name} ends of the two jobs", [ends(service, j["id"]) for j in (whole, killed)], [1, 1])


def ends(service: Service, job_id: str) -> int:
    """Return how many times the job ended: the number of its final events or of its versions, whichever is larger."""
    events = service.events(job_id)
    final: int = sum(event["message"].startswith("The job has") for event in events)
    model = service.job(job_id)["fine_tuned_model"].partition(":")[0]
    listed = service.client.get(f"/v1/registry/models/{model}/versions").json()["data"]
    return max(final, len([version for version in listed if version["job_id"] == job_id]))


def check_engine(record: Record, service: Service, backend: str, generator: str, classifier: str) -> None:
    for number in range(TIMES):
        name = f"{backend} engine kill {number + 1}"
        seconds, outcomes = kill_engine(service, generator, classifier, number)
        record.at_most(f"{name}: seconds until /readyz reports it", seconds, 2)
        record.equal(f"{name}: ends that are neither a result nor engine_lost",
                     sorted(set(outcomes) - {"ok", "engine_lost"}), [])  # fmt: skip
        record.equal(f"{name}: some were lost", outcomes.count("engine_lost") > 0, True)
        record.notes[name] = dict(Counter(outcomes))
        _, reason = service.stream(generator, f"Again {number}", max_tokens=5, ignore_eos=True)
        record.equal(f"{name}: streams again", reason, "length")


def kill_engine(
    service: Service, generator: str, classifier: str, salt: int = 0, streams: int = 4
) -> tuple[float, list[str]]:
    """Kill the engine while streams run and texts are classified, and wait until the service is ready again.

    Returns the seconds until /readyz reported the failure, and the outcome of each request that was in flight. All
    requests differ, because a request that is in flight during two crashes is quarantined.
    """
    with ThreadPoolExecutor(streams + 2) as threads:
        open_ones: list[Future[Any]] = [
            threads.submit(service.stream, generator, f"{salt} {n} It was", max_tokens=2**20, ignore_eos=True)
            for n in range(streams)
        ]
        wait_until(lambda: running(service, generator) == streams, 30, "running streams", every=0.01)
        before = _scored(service)
        enough = Event()
        open_ones += [threads.submit(_classify_on, service, classifier, f"{salt} {n}", enough) for n in range(2)]
        wait_until(lambda: _scored(service) > before, 30, "answered classifications", every=0.01)
        killed = time.monotonic()
        service.kill("engine")
        wait_until(lambda: not service.ready(), 10, "/readyz to report the failure", every=0.02)
        seconds = time.monotonic() - killed
        enough.set()
        outcomes = [outcome(partial(future.result, 60)) for future in open_ones]
    wait_until(service.ready, 60, "/readyz to report readiness again")
    return seconds, outcomes


def _classify_on(service: Service, model: str, salt: str, enough: Event) -> None:
    """Send large requests one after another until one fails or `enough` is set."""
    number = 0
    while not enough.is_set():
        number += 1
        service.classify(model, [f"{salt} {number} so it is {n}" for n in range(512)])


def running(service: Service, model: str) -> int:
    engines = service.client.get("/v1/engine").json()["engines"]
    return sum(v["running"] for e in engines for v in e["versions"] if v["ref"].startswith(f"{model}:"))


def _scored(service: Service) -> float:
    lines = service.client.get("/metrics").text.splitlines()
    counters = [line for line in lines if line.startswith("ostinato_request_success_total") and '"scored"' in line]
    return sum(float(line.rpartition(" ")[2]) for line in counters)


def sentences(text: str, path: Path) -> Path:
    """Write a small data set with two meaningless labels, and return its path."""
    lines = [line.strip().replace('"', "'") for line in text.splitlines() if len(line.split()) > 4][:200]
    rows = [f'"{line}",{("even", "odd")[number % 2]}' for number, line in enumerate(lines)]
    path.write_text("text,label\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return path


def train_classifier(service: Service, file: str) -> str:
    tiny = {"max_steps": 5, "width": 16, "layers": 1}
    job = service.train(model="gru", training_file=file, task="classification", suffix="killed-judge", training=tiny)
    if service.finish(job["id"], 900)["status"] != "succeeded":
        raise RuntimeError(f"the classifier was not trained: {service.job(job['id'])['error']}")
    service.classify("killed-judge", ["so it is"])
    return "killed-judge"


def check(record: Record, data: Path | None, folder: Path) -> None:
    text = folder / "text.txt"
    text.write_text(corpus()[:400_000], encoding="utf-8")
    on_each_database(lambda backend, url: _check_backend(record, folder / backend, text, backend, SETTINGS | url))


def on_each_database(check_backend: Callable[[str, dict[str, str]], None]) -> None:
    """Run a check on SQLite and on a PostgreSQL server that is started for it.

    `check_backend` is called with the name of the backend and the setting that selects it. Raises Skip if there is no
    PostgreSQL.
    """
    check_backend("sqlite", {})
    try:
        with cluster() as server:
            check_backend("postgresql", {"OSTINATO_DATABASE_URL": server.url("postgres")})
    except Missing as reason:
        raise Skip(str(reason)) from None


def _check_backend(record: Record, folder: Path, text: Path, backend: str, settings: Mapping[str, str]) -> None:
    with started(folder, settings=settings) as service:
        file = service.upload(text)
        check_training(record, service, backend, file)
        labelled = sentences(text.read_text(encoding="utf-8"), folder / "sentences.csv")
        classifier = train_classifier(service, service.upload(labelled))
        check_engine(record, service, backend, "killed-lstm", classifier)
