"""Dry runs with the real programs, compared with a job for the same request."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.service import Service

pytestmark = pytest.mark.e2e
OPTIONS = ("--model", "rnn", "--width", "16", "--max-steps", "30", "--no-baseline", "--seed", "3")


def test_the_estimate_is_of_the_job_that_follows(service: Service, reviews: Path) -> None:
    def train(*options: str) -> str:
        command = [sys.executable, "-m", "app.cli", "train", str(reviews), *OPTIONS, *options]
        environment = {**os.environ, "OSTINATO_URL": service.url}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout

    before = service.client.get("/v1/fine_tuning/jobs").json()["data"]
    printed = train("--estimate")
    assert "rnn: 1 layer of 16, " in printed and "; 30 steps: about " in printed
    estimate = json.loads(train("--estimate", "--json"))
    assert service.client.get("/v1/fine_tuning/jobs").json()["data"] == before
    job = json.loads(train("--json"))
    version = service.version(job["fine_tuned_model"])
    (plan,) = estimate["plans"]
    assert plan["parameters"] == version["parameters"]
    assert plan["steps"] == job["hyperparameters"]["total_steps"] == 30
    assert estimate["data"]["rows"]["test"] == version["metrics"]["test"]["rows"]
