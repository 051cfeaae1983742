"""Runs each attack with or without a key, and measures the latency of a second key, on SQLite and on PostgreSQL."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx
from sqlalchemy import create_engine, text

from app.db.database import url_of
from benchmarks import checkpoints
from benchmarks.accept.abuse_attacks import ATTACKS
from benchmarks.accept.record import Record
from benchmarks.bench import corpus
from benchmarks.postgres import Missing, cluster
from benchmarks.service import Service, checked, running, wait_until

SECONDS = 6.0  # how long requests are timed, both without an attack and during each attack
WARM_SECONDS = 3.0  # how long an attack runs before requests are timed
START_SECONDS = 120.0  # the maximum time until an attack begins
KEYS = {"mallory": "secret-of-mallory", "bob": "secret-of-bob", "ops": "secret-of-ops"}
SETTINGS = {
    "OSTINATO_API_KEYS": ",".join(f"{name}:{secret}" for name, secret in KEYS.items()),
    "OSTINATO_KEY_SCOPES": "mallory:infer+train+registry,bob:infer+registry,ops:operator",
}
# bounds: TIMES the latency without an attack, but at least LEAST seconds (for the health route, LEAST_HEALTH)
TIMES, LEAST, LEAST_HEALTH = 5, 1.0, 0.1
MEMORY = 100.0  # maximum growth of the memory of the API and the engine after an attack, in MiB
RETURN_SECONDS = 120.0  # time limit for releasing memory, which includes the time to finish a running sequence


def client(service: Service, name: str) -> httpx.Client:
    headers = {"authorization": f"Bearer {KEYS[name]}"}
    return httpx.Client(base_url=service.url, headers=headers, timeout=60)


def timed(http: httpx.Client, seconds: float, method: str, path: str, body: object = None) -> tuple[list[float], int]:
    """Repeat a request. Returns the seconds that the requests took, in ascending order, and the number of errors."""
    times, errors, end = [], 0, time.monotonic() + seconds
    while time.monotonic() < end:
        began = time.perf_counter()
        try:
            errors += http.request(method, path, json=body).status_code != 200
        except httpx.HTTPError:
            errors += 1
        times.append(time.perf_counter() - began)
    return sorted(times), errors


def figures(service: Service, seconds: float) -> dict[str, float]:
    """Time single texts and the health route concurrently. Returns the number of texts, their median and 99th
    percentile, the 99th percentile of the health route, and the number of errors.
    """
    health: list[tuple[list[float], int]] = []
    with client(service, "bob") as bob, httpx.Client(base_url=service.url, timeout=60) as anybody:
        thread = threading.Thread(target=lambda: health.append(timed(anybody, seconds, "GET", "/livez")))
        thread.start()
        times, errors = timed(bob, seconds, "POST", "/v1/classify", {"model": "calm", "input": "what a lovely day"})
        thread.join()
    [(health_times, health_errors)] = health
    return {
        "texts": len(times),
        "text p50": statistics.median(times),
        "text p99": times[int(0.99 * (len(times) - 1))],
        "health p99": health_times[int(0.99 * (len(health_times) - 1))],
        "errors": errors + health_errors,
    }


@contextmanager
def attacked(service: Service, name: str, folder: Path, database: str) -> Iterator[Path]:
    """Run an attack in a separate process within the block. Yields the path of the file with its output."""
    output = folder / f"{name}.log"
    command = [sys.executable, "-m", "benchmarks.accept.abuse_attacks", name, service.url, KEYS["mallory"], str(folder)]
    with output.open("wb") as log, contextlib.ExitStack() as stack:
        if name == "waiting writers":
            stack.enter_context(locked(service, database))
        process = subprocess.Popen(command, stdout=log)
        try:
            wait_until(lambda: replies_in(output), START_SECONDS, f"the attack {name}")
            yield output
        finally:
            process.kill()
            process.wait()


def replies_in(output: Path) -> dict[str, int]:
    """Return how many replies of each status the attacker has received, according to its last report."""
    lines = [line for line in output.read_text().split("\n")[:-1] if line]
    replies: dict[str, int] = json.loads(lines[-1]) if lines else {}
    return replies


@contextmanager
def locked(service: Service, database: str) -> Iterator[None]:
    """Hold a database lock that blocks every writer within the block."""
    if not database:
        connection = sqlite3.connect(service.data / "ostinato.db", isolation_level=None)
        connection.execute("BEGIN EXCLUSIVE")
        yield
        connection.rollback()
        connection.close()
        return
    engine = create_engine(url_of(database))
    with engine.begin() as connection_:
        connection_.execute(text("LOCK TABLE models, versions, aliases, files, jobs IN ACCESS EXCLUSIVE MODE"))
        yield
    engine.dispose()


def prepare(service: Service, folder: Path) -> None:
    """Register the second key's version, and write the checkpoint that the attacks modify."""
    directory = checkpoints.write("classify-lstm", corpus(), folder)
    directory.rename(folder / "mood")
    tar = checkpoints.pack(folder / "mood")
    with client(service, "bob") as bob:
        checked(bob.post("/v1/registry/models/calm/versions", files={"file": ("a.tar", tar.read_bytes())}))
        wait_until(lambda: bob.post("/v1/classify", json={"model": "calm", "input": "a"}).is_success, 60, "an answer")


def measure(record: Record, service: Service, folder: Path, database: str, kind: str) -> None:
    quiet = figures(service, SECONDS)
    record.notes[f"{kind}: without an attack"] = quiet
    most = max(LEAST, TIMES * quiet["text p99"]), max(LEAST_HEALTH, TIMES * quiet["health p99"])
    for name in ATTACKS:
        before = service.resident()
        with attacked(service, name, folder, database) as output:
            time.sleep(WARM_SECONDS)
            under = figures(service, SECONDS)
        record.notes[f"{kind}: {name}"] = under | {"attacker's replies": replies_in(output)}
        record.at_most(f"{kind}: {name}: text p99, seconds", under["text p99"], most[0])
        record.at_most(f"{kind}: {name}: health p99, seconds", under["health p99"], most[1])
        record.equal(f"{kind}: {name}: errors", under["errors"], 0)
        wait_until(service.ready, RETURN_SECONDS, "readiness after an attack")
        record.at_most(f"{kind}: {name}: memory, MiB", returned(service, before), MEMORY)


def returned(service: Service, before: float) -> float:
    """Wait up to RETURN_SECONDS for memory to be released. Returns its growth in MiB, compared with `before`."""
    end = time.monotonic() + RETURN_SECONDS
    while (growth := service.resident() - before) > MEMORY and time.monotonic() < end:
        time.sleep(0.5)
    return growth


def run(record: Record, folder: Path, kind: str, settings: Mapping[str, str]) -> None:
    folder.mkdir()
    with running(folder / "data", settings=SETTINGS | dict(settings), ready_in=300) as service:
        prepare(service, folder)
        measure(record, service, folder, settings.get("OSTINATO_DATABASE_URL", ""), kind)


def check(record: Record, data: Path | None, folder: Path) -> None:
    run(record, folder / "sqlite", "sqlite", {})
    try:
        with cluster() as server:
            run(record, folder / "postgresql", "postgresql", {"OSTINATO_DATABASE_URL": server.url("postgres")})
    except Missing as reason:
        record.notes["postgresql"] = str(reason)
