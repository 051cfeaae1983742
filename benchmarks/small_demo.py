"""Trains replacements for the demo models of the README and the guides, in less time than the real ones need."""

from __future__ import annotations

from typing import Any

from app.client import Client
from app.demo.demo import DATA, JOBS, request
from app.demo.trainings import TRAININGS
from benchmarks.service import wait_until

SHORTER: dict[str, dict[str, Any]] = {  # the classifier is trained in full, because the pages show its predictions
    "demo-sentiment-lstm": {},
    "demo-text-lstm": {"max_steps": 20},
    "demo-text-transformer": {"max_steps": 20},
}


def train(client: Client, seconds: float) -> None:
    """Train the replacements, and wait until they are ready."""
    files: dict[str, str] = {}
    for name, architecture, data, training in TRAININGS:
        if name in SHORTER:
            files[data] = files.get(data) or client.upload(DATA / data)["id"]
            client.create_job(request(name, architecture, files[data], training | SHORTER[name]))
    wait_for_all(client, seconds)


def wait_for_all(client: Client, seconds: float) -> None:
    """Wait until every job has succeeded. Raises AssertionError if one fails."""

    def finished() -> bool:
        jobs: list[dict[str, Any]] = list(client.pages(JOBS))
        failed = [job for job in jobs if job["status"] in ("failed", "cancelled")]
        assert not failed, failed
        return bool(jobs) and all(job["status"] == "succeeded" for job in jobs)

    wait_until(finished, seconds, "the demo's models", every=0.2)
