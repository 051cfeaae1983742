"""Runs `ostinato up --demo` with an empty registry: it must train six versions of at least a minimum quality within
five minutes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.accept.record import Record
from benchmarks.service import Service, running, wait_until

ARCHITECTURES = ("rnn", "lstm", "transformer")
NAMES = [f"demo-{kind}-{a}" for kind in ("sentiment", "text") for a in ARCHITECTURES]
SECONDS = 300  # the maximum time until all six versions are ready
BITS = 3.2  # maximum bits per character
MARGIN = 0.15  # minimum gain in accuracy over always answering the most frequent label


def ready_versions(service: Service) -> dict[str, Any]:
    """Return the newest ready version of each demo model that has one."""
    versions = {}
    for name in NAMES:
        reply = service.client.get(f"/v1/registry/models/{name}/versions")
        if reply.status_code == 200:
            ready = [v for v in reply.json()["data"] if v["status"] == "ready"]
            if ready:
                versions[name] = ready[0]
    return versions


@contextmanager
def demo_running(data: Path, seconds: float = 2 * SECONDS) -> Iterator[Service]:
    """Run a service, and wait until its six demo models are ready."""
    with running(data, "--demo") as service:
        wait_until(lambda: len(ready_versions(service)) == len(NAMES), seconds, "the six demo models", every=0.5)
        yield service


def majority_of(metrics: dict[str, Any]) -> float:
    """Return the share of the most frequent label."""
    supports = [label["support"] for label in metrics["per_class"].values()]
    return float(max(supports) / sum(supports))


def check(record: Record, data: Path | None, folder: Path) -> None:
    started = time.monotonic()
    with demo_running(folder / "data") as service:
        record.at_most("seconds until all six are ready", time.monotonic() - started, SECONDS)
        for name, version in ready_versions(service).items():
            metrics = version["metrics"].get("test") or version["metrics"]["validation"]
            if "bits_per_character" in metrics:
                record.at_most(f"{name} bits per character", metrics["bits_per_character"], BITS)
            else:
                record.at_least(f"{name} accuracy", metrics["accuracy"], majority_of(metrics) + MARGIN)
