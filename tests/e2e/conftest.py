"""A complete service, started like a user would start it and shared by the end-to-end tests of a session."""

from __future__ import annotations

import csv
import json
import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.service import Service, running

SETTINGS = {
    "OSTINATO_THREADS": "2",
    "OSTINATO_LEASE_SECONDS": "4",
    "OSTINATO_RESUME_EVERY_SECONDS": "1",
    "OSTINATO_LOG_FORMAT": "json",
}
GOOD = ["lovely", "wonderful", "great", "happy", "splendid", "kind", "bright"]
BAD = ["awful", "terrible", "sad", "angry", "dreadful", "cruel", "gloomy"]
FILLER = ["the", "film", "was", "and", "this", "day", "felt", "quite", "some", "people", "say", "it"]


def write_reviews(path: Path, count: int = 400) -> Path:
    """Write a table with a `split` column and two labels that a network can learn in a few steps."""
    draw = random.Random(0)
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["text", "label", "split"])
        for number in range(count):
            words, label = ((GOOD, "good"), (BAD, "bad"))[number % 2]
            text = draw.choices(FILLER, k=draw.randint(2, 8)) + draw.choices(words, k=2)
            draw.shuffle(text)
            writer.writerow([f"{' '.join(text)} {number}", label, ("train", "train", "train", "test")[number // 2 % 4]])
    return path


def write_tale(path: Path, sentences: int = 1500) -> Path:
    """Write a file of plain text with random sentences."""
    draw = random.Random(0)
    lines = (" ".join(draw.choices(FILLER + GOOD + BAD, k=8)) + "." for _ in range(sentences))
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_reviews(tmp_path_factory.mktemp("data") / "reviews.csv")


@pytest.fixture(scope="session")
def tale(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tale(tmp_path_factory.mktemp("data") / "tale.txt")


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running(tmp_path_factory.mktemp("service"), settings=SETTINGS) as started:
        yield started
        assert_clean_stop(started)


def assert_clean_stop(service: Service) -> None:
    """Stop the service as Ctrl+C does: the exit status is 0, and no program logs a warning or prints a traceback."""
    assert service.process is not None
    log = service.data / "up.log"
    before = log.stat().st_size
    os.killpg(service.process.pid, signal.SIGINT)
    assert service.process.wait(60) == 0
    lines = [json.loads(line) for line in log.read_bytes()[before:].splitlines()]
    assert [line for line in lines if line.get("level", "info") != "info"] == []
    # The launcher's own lines have no level. If a program had failed or been killed, they would say so.
    [message] = [line["message"] for line in lines if line["program"] == "up"]
    assert message.startswith("stopping: ")
