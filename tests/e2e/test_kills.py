"""Each program is killed with SIGKILL while it works: nothing is lost or repeated, and the weights are the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from benchmarks.accept.kills import ends, kill_during, kill_engine, train_classifier, weights
from benchmarks.service import Service, running
from tests.e2e.conftest import SETTINGS
from tests.promises import kept

pytestmark = pytest.mark.e2e
# small batches, because these tests need restarts and not much learning
SMALL = {"max_steps": 2400, "width": 32, "layers": 1, "threads": 1, "batch_size": 8, "context_length": 32}


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def killable(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    settings = dict(SETTINGS)
    if request.param == "postgresql":
        cluster = request.getfixturevalue("postgres_cluster")
        cluster.execute("CREATE DATABASE kills")
        settings["OSTINATO_DATABASE_URL"] = cluster.url("kills")
    with running(tmp_path_factory.mktemp(request.param), settings=settings) as started:
        yield started


def test_a_killed_training_ends_with_the_same_bits(killable: Service, tale: Path) -> None:
    file = killable.upload(tale)
    request = {"model": "lstm", "training_file": file, "suffix": "killed", "seed": 3, "training": SMALL}
    whole = killable.finish(killable.train(**request)["id"], 900)
    job_id = killable.train(**request)["id"]
    hits = kill_during(killable, job_id, times=1)
    killed = killable.finish(job_id, 900)
    assert hits == {"trainer": 1, "worker": 1}
    assert (whole["status"], killed["status"]) == ("succeeded", "succeeded")
    assert weights(killable, killed) == weights(killable, whole)
    steps = [
        Counter(e["data"]["step"] for e in killable.events(j) if e["type"] == "metrics") for j in (whole["id"], job_id)
    ]
    assert max(steps[1].values()) == 1
    assert set(steps[0]) <= set(steps[1])
    assert [ends(killable, job["id"]) for job in (whole, killed)] == [1, 1]


def test_a_killed_engine_ends_open_requests_and_comes_back(killable: Service, tale: Path, reviews: Path) -> None:
    tiny = {"max_steps": 5, "width": 16, "layers": 1}
    job = killable.train(model="gru", training_file=killable.upload(tale), suffix="streamer", training=tiny)
    judge = train_classifier(killable, killable.upload(reviews))
    assert killable.finish(job["id"], 900)["status"] == "succeeded"
    kills = count()

    def killing() -> float:
        seconds, outcomes = kill_engine(killable, "streamer", judge, next(kills))
        assert len(outcomes) == 6 and set(outcomes) <= {"ok", "engine_lost"} and "engine_lost" in outcomes
        return seconds

    kept(2.0, killing)
    assert killable.stream("streamer", "the", max_tokens=3, ignore_eos=True)[1] == "length"
