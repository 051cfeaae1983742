"""Queues the demo's trainings in an empty registry: `python -m app.demo.demo --url … [--data-dir …]`.

A client like any other, started by the launcher once the service is ready. Run again, it adds only what is missing,
and nothing at all where there are models of other people's making.
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
MARK = "demo"  # metadata key of the jobs queued here
JOBS = "/v1/fine_tuning/jobs"


def main() -> int:
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
        print("they are ready in a few minutes; watch with: ostinato jobs")
    else:
        print("the registry is in use: no demo training was queued")
    return 0


def queue(client: Client) -> list[str]:
    """Create the jobs that are missing; their names."""
    if client.get("/v1/registry/models", limit=1)["data"]:
        return []
    known = {(job.get("metadata") or {}).get(MARK) for job in client.pages(JOBS)}
    return create(client, {name for name, *_ in TRAININGS} - known)


def create(client: Client, wanted: Collection[str]) -> list[str]:
    files = {stored["filename"]: stored["id"] for stored in client.pages("/v1/files")}
    queued = []
    for name, architecture, data, training in TRAININGS:
        if name not in wanted:
            continue
        if data not in files:
            files[data] = client.upload(DATA / data)["id"]
        client.create_job(request(name, architecture, files[data], training))
        queued.append(name)
    return queued


def request(name: str, architecture: str, file_id: str, training: dict[str, Any]) -> dict[str, Any]:
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
