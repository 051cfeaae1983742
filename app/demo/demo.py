"""Queues the demo's training jobs if the registry is empty: `python -m app.demo.demo --url … [--data-dir …]`.

This program is an ordinary HTTP client. The launcher starts the program when the service is ready. Jobs from an earlier
run are not queued again, and nothing is queued if the registry already has a model.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

from app import settings
from app.client import Client, ServiceError
from app.demo.trainings import TRAININGS
from app.errors import OstinatoError
from app.launcher.terminal import PROGRESS
from app.wording import quantity

DATA = Path(__file__).parent / "data"
MARK = "demo"  # metadata key of the jobs that this program creates
JOBS = "/v1/fine_tuning/jobs"
PRIORITY = -10  # lower than the default, so that the user's own jobs start first
ENDED = ("succeeded", "failed", "cancelled")
POLL = 1.0  # seconds between two polls of the jobs
TRIAL = 'ostinato classify --model demo-sentiment-lstm "a wonderful film"'


def main() -> int:
    """Queue the training jobs, print their names, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--data-dir")
    parser.add_argument(
        "--progress", action="store_true", help="report the progress of the training jobs until they end"
    )
    arguments = parser.parse_args()
    chosen = settings.load(data_dir=arguments.data_dir)
    key = next(iter(chosen.keys), chosen.api_key)
    try:
        with Client(arguments.url, key) as client:
            queued = queue(client)
            announce(queued)
            if arguments.progress:
                watch(client)
    except OstinatoError as error:
        print(error.message, file=sys.stderr)
        return 1
    return 0


def announce(queued: list[str]) -> None:
    if queued:
        print(f"training {quantity(len(queued), 'small model')}: {', '.join(queued)}")
        print("the models will be ready in a few minutes; watch their progress with: ostinato jobs")
    else:
        print("the registry is already in use; no demo jobs were queued")


def watch(client: Client) -> None:
    """Print the progress of the demo's unfinished jobs until they end, in lines that the launcher parses."""
    jobs = {job["id"]: job for job in client.pages(JOBS) if (job.get("metadata") or {}).get(MARK)}
    jobs = {id_: job for id_, job in reversed(jobs.items()) if job["status"] not in ENDED}  # oldest first
    before = None
    while jobs:
        report = [
            (job["metadata"][MARK], str(job["status"]), float(job.get("progress") or 0.0)) for job in jobs.values()
        ]
        if report != before:
            print(PROGRESS + json.dumps(report), flush=True)
        before = report
        unfinished = [id_ for id_, job in jobs.items() if job["status"] not in ENDED]
        if not unfinished:
            if any(job["status"] == "succeeded" for job in jobs.values()):
                print(f"the demo's models are ready; try: {TRIAL}", flush=True)
            return
        time.sleep(POLL)
        for id_ in unfinished:
            with contextlib.suppress(ServiceError):  # the API may restart, or the job may be deleted
                jobs[id_] = client.get(f"{JOBS}/{id_}")


def queue(client: Client) -> list[str]:
    """If the registry is empty, create the demo's jobs that do not exist yet. Returns their names."""
    if client.get("/v1/registry/models", limit=1)["data"]:
        return []
    existing = {(job.get("metadata") or {}).get(MARK) for job in client.pages(JOBS)}
    return create(client, {name for name, *_ in TRAININGS} - existing)


def create(client: Client, names: Collection[str]) -> list[str]:
    """Create the training jobs `names`, and upload their missing data files. Returns the names."""
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
    """Return the body of the request that creates a job."""
    return {
        "model": architecture,
        "training_file": file_id,
        "seed": 1,
        "publish": {"name": name},
        "metadata": {MARK: name},
        "priority": PRIORITY,
        "training": training,
    }


if __name__ == "__main__":
    sys.exit(main())
