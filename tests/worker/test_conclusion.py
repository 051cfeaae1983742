"""Auto jobs from the request to the version, with a fake trainer, on both databases."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select

from app.checkpoint import directory as checkpoint
from app.db.tables import VersionRow
from app.jobs.records import Job
from app.registry.garbage import load_references
from app.worker import conclusion, publish
from app.worker.resources import Resources
from app.worker.worker import Worker
from tests.jobs.fixtures import OWNER, Queue, until
from tests.worker.running import LONG, working

pytestmark = pytest.mark.long

GOOD, BAD = [0.0] * 9 + [1.0], [0.0, 1.0] * 5
NEW = {"training": {}, "parameters": 4, "steps": 5, "work": 1.0}


def auto(queue: Queue, of: dict[str, dict[str, Any]], **fields: Any) -> Job:
    """An auto job with a trial for each model in `of`. The values of `of` change the plans of the fake trainers."""
    plan = {"steps": 5, "trials": [NEW | {"model": model} for model in of], "of": of}
    return queue.create(plan=plan, model="auto", **fields)


def finish(queue: Queue, resources: Resources, job: Job) -> Job:
    worker = Worker(resources)
    until(lambda: not worker.step() and queue.get(job).ended)
    return queue.get(job)


def versions(resources: Resources) -> list[tuple[str, int, str | None]]:
    with resources.database.read() as session:
        return [(row.model, row.version, row.job_id) for row in session.scalars(select(VersionRow))]


def test_one_worker_publishes_the_best_trial_with_a_table_of_all(queue: Queue, resources: Resources) -> None:
    of = {"rnn": {"errors": BAD}, "gru": {"errors": GOOD}, "lstm": {"fail": {"code": "diverged", "message": "no"}}}
    job = finish(queue, resources, auto(queue, of, publish={"name": "mood", "alias": "best"}))
    assert (job.status, job.fine_tuned_model, job.trained_tokens) == ("succeeded", "mood:1", 50)
    assert [(t.model, t.status, t.fine_tuned_model) for t in job.trials] == [
        ("rnn", "succeeded", None), ("gru", "succeeded", None), ("lstm", "failed", None)
    ]  # fmt: skip
    version = resources.registry.resolve("mood@best", OWNER)
    assert version.job_id == job.id and job.result is not None
    table = version.metrics["trials"]
    assert job.result["trials"] == table
    assert [(row["model"], row["chosen"], row["status"]) for row in table] == [
        ("rnn", False, "succeeded"), ("gru", True, "succeeded"), ("lstm", False, "failed")
    ]  # fmt: skip
    assert table[0]["behind"] == pytest.approx(0.4) and table[2]["error"] == "no"
    folder = resources.cache.checkpoint(version.digest, version.files)
    assert "| gru | 4 | 5 | 0.7500 | 0.0000 ± 0.0000 | yes |" in (folder / "README.md").read_text()
    assert checkpoint.load_json(folder / "metrics.json")["trials"] == table
    messages = [event.message for event in queue.events(job) if event.kind == "trial.ended"]
    assert messages == [
        "Trial 1 of 3, rnn: accuracy 0.75",
        "Trial 2 of 3, gru: accuracy 0.75",
        "Trial 3 of 3, lstm, failed: no",
    ]


def test_the_reason_names_a_baseline_that_is_better_than_the_winner() -> None:
    summary = "gru: 0.700 validation R²; a linear model on the same rows: 0.950 (paired t p < 0.001)"
    comparison = {"split": "validation", "metric": "r2", "network": 0.7, "baseline": 0.95}
    report = {"comparison": comparison, "summary": f"{summary}: the linear model is better"}
    expected = f"gru is best; the baseline is better than the chosen trial ({summary})"
    assert conclusion.with_baseline("gru is best", {"baseline": report}) == expected
    for metrics in (
        {"baseline": report | {"comparison": comparison | {"metric": "bits_per_character"}}},
        {"baseline": report | {"comparison": comparison | {"network": 0.96}}},
        {"baseline": {"description": "a linear model"}},
        {},
    ):
        assert conclusion.with_baseline("gru is best", metrics) == "gru is best"


def test_the_reason_of_a_version_names_a_better_baseline(
    queue: Queue, resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    comparison = {"split": "validation", "metric": "accuracy", "network": 0.7, "baseline": 0.9}
    baseline = {"comparison": comparison, "summary": "gru: 0.700; a linear model on the same rows: 0.900"}
    monkeypatch.setattr(conclusion, "read_metrics", lambda directory: {"baseline": baseline})
    job = finish(queue, resources, auto(queue, {"gru": {}}))
    assert job.result is not None and job.result["reason"].endswith(f"chosen trial ({baseline['summary']})")
    version = resources.registry.resolve(str(job.fine_tuned_model), OWNER)
    card = (resources.cache.checkpoint(version.digest, version.files) / "README.md").read_text()
    assert baseline["summary"] in card.partition("## What was tried")[2]


def test_metrics_of_too_few_rows_are_not_shown(queue: Queue, resources: Resources) -> None:
    of = {name: {"metrics": {"rows": 2, "accuracy": 1.0}} for name in ("rnn", "gru")}
    job = finish(queue, resources, auto(queue, of))
    messages = [event.message for event in queue.events(job) if event.kind == "trial.ended"]
    few = "2 rows: too few for meaningful metrics"
    assert messages == [f"Trial 1 of 2, rnn: {few}", f"Trial 2 of 2, gru: {few}"]
    version = resources.registry.resolve(str(job.fine_tuned_model), OWNER)
    card = (resources.cache.checkpoint(version.digest, version.files) / "README.md").read_text()
    section = card.partition("## What was tried")[2]
    assert f"Validation on {few}.\n" in section and "1.0000" not in section


def test_no_trial_of_a_job_publishes_a_version_or_lists_a_file(queue: Queue, resources: Resources) -> None:
    job = finish(queue, resources, auto(queue, {"rnn": {}, "gru": {}}))
    assert versions(resources) == [(job.publish_name, 1, job.id)]
    assert [f.filename for f in queue.files.list(OWNER, purpose="fine-tune-results").items] == [f"{job.id}-results.csv"]


def test_a_job_fails_with_the_error_that_all_its_trials_have(queue: Queue, resources: Resources) -> None:
    failed = {"fail": {"code": "diverged", "message": "the loss is not a number", "param": "training.learning_rate"}}
    job = finish(queue, resources, auto(queue, {"rnn": failed, "gru": failed}))
    assert job.status == "failed" and job.error is not None
    assert (job.error["code"], job.error["param"]) == ("diverged", "training.learning_rate")
    assert "rnn: the loss" in job.error["message"] and "gru: the loss" in job.error["message"]
    other = finish(queue, resources, auto(queue, {"rnn": failed, "gru": {"fail": {"code": "x", "message": "y"}}}))
    assert (other.error or {})["code"] == "trials_failed"


def test_data_that_cannot_be_read_fails_the_job_before_any_trial(queue: Queue, resources: Resources) -> None:
    fail = {"fail": {"code": "invalid_training_file", "message": "no rows"}}
    job = finish(queue, resources, queue.create(plan=fail, model="auto"))
    assert (job.status, job.trials, (job.error or {})["message"]) == ("failed", (), "no rows")


def test_a_worker_lost_at_any_point_of_the_end_changes_nothing(
    queue: Queue, resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = auto(queue, {"rnn": {"errors": BAD}, "gru": {"errors": GOOD}})

    def once_failing(function: Callable[..., Any]) -> Callable[..., Any]:
        calls = itertools.count()

        def call(*arguments: Any) -> Any:
            if next(calls) == 0:
                raise OSError(0, "lost")
            return function(*arguments)

        return call

    monkeypatch.setattr(conclusion, "_write", once_failing(conclusion._write))
    monkeypatch.setattr(publish, "publish", once_failing(publish.publish))
    ended = finish(queue, resources, job)
    assert (ended.status, ended.losses, ended.attempt) == ("succeeded", 2, 4)
    assert versions(resources) == [(job.publish_name, 1, job.id)]


def test_cancelling_reaches_the_running_trial(queue: Queue, resources: Resources) -> None:
    job = auto(queue, {"rnn": LONG, "gru": {}})
    with working(resources):
        until(lambda: any(trial.trained_tokens for trial in queue.get(job).trials))
        assert 0.0 < queue.get(job).progress < 0.5
        queue.jobs.cancel(job.id, OWNER)
        until(lambda: queue.get(job).ended)
    assert queue.get(job).status == "cancelled"
    assert {trial.status for trial in queue.get(job).trials} == {"cancelled"}


def test_pausing_and_resuming_reach_the_running_trial(queue: Queue, resources: Resources) -> None:
    job = auto(queue, {"rnn": {"holds": [4]}, "gru": {}})
    with working(resources):
        until(lambda: any(trial.trained_tokens for trial in queue.get(job).trials))
        queue.jobs.pause(job.id, OWNER)
        until(lambda: queue.get(job).status == "paused")
        assert {trial.status for trial in queue.get(job).trials} == {"paused"}
        queue.jobs.resume(job.id, OWNER)
        until(lambda: queue.get(job).ended)
    assert queue.get(job).status == "succeeded"


def test_collected_garbage_never_includes_the_files_of_a_trial(queue: Queue, resources: Resources) -> None:
    job = auto(queue, {"rnn": {}, "gru": {}})
    worker = Worker(resources)
    until(lambda: worker.step() and queue.get(job).trials[1:] and queue.get(job).trials[1].ended)
    report = resources.registry.fsck()
    assert report.ok
    kept = {blob["sha256"] for t in queue.get(job).trials for blob in (t.result or {})["files"].values()}
    with resources.database.read() as session:
        assert kept <= set(load_references(session, None))
    assert finish(queue, resources, job).status == "succeeded"
    with resources.database.read() as session:
        assert not any(name.startswith("ftjob-") for u in load_references(session, None).values() for name, _ in u)
