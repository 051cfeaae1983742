"""Queues the demo's trainings if the registry is empty: `python -m app.demo.demo --url … [--data-dir …]`.

An HTTP client like any other, which the launcher starts once the service is ready. Jobs that an earlier run has queued
are not queued again, and a registry that has a model is left alone.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

from app import settings
from app.client import Client
from app.demo.trainings import TRAININGS
from app.errors import OstinatoError

DATA = Path(__file__).parent / "data"
MARK = "demo"  # metadata key of the jobs that this program creates
JOBS = "/v1/fine_tuning/jobs"


def main() -> int:
    """Queue the trainings and report it; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--data-dir")
    arguments = parser.parse_args()
    chosen = settings.load(data_dir=arguments.data_dir)
    key = next(iter(chosen.keys), chosen.api_key)
    try:
        with Client(arguments.url, key) as client:
            queued = queue(client)
    except OstinatoError as error:
        print(error.message, file=sys.stderr)
        return 1
    if queued:
        print(f"training {len(queued)} small models: {', '.join(queued)}")
        print("they will be ready in a few minutes; watch them with: ostinato jobs")
    else:
        print("the registry is already in use; no demo training was queued")
    return 0


def queue(client: Client) -> list[str]:
    """Create the jobs that do not exist yet; returns their names."""
    if client.get("/v1/registry/models", limit=1)["data"]:
        return []
    existing = {(job.get("metadata") or {}).get(MARK) for job in client.pages(JOBS)}
    return create(client, {name for name, *_ in TRAININGS} - existing)


def create(client: Client, names: Collection[str]) -> list[str]:
    """Create the named trainings, and upload their data where that is missing; returns the names."""
    files = {stored["filename"]: stored["id"] for stored in client.pages("/v1/files")}
    queued = []
    for name, architecture, data, training in TRAININGS:
        if name not in names:
            continue
        if data not in files:
            files[data] = client.upload(DATA / data)["id"]
        client.create_job(request(name, architecture, files[data], training))
        queued.append(name)
    return queued


def request(name: str, architecture: str, file_id: str, training: dict[str, Any]) -> dict[str, Any]:
    """The body of one job's creation request."""
    return {
        "model": architecture,
        "training_file": file_id,
        "seed": 1,
        "publish": {"name": name},
        "metadata": {MARK: name},
        "training": training,
    }


if __name__ == "__main__":
    sys.exit(main())
