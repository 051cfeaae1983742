"""All ways in which an attempt at a batch can end. The fake batch program is a real child process."""

from __future__ import annotations

import errno
import time
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import update

from app.db.tables import JobRow
from app.disk_errors import EXIT_CODE
from app.jobs.records import BATCH_LANE, Job
from app.runs.batch_spool import Spool
from app.runs.run_directory import RunDirectory
from app.runs.trainer import Trainer
from app.wire.batch import ANSWERS
from app.worker import batch_attempt, job_attempt
from app.worker import worker as worker_module
from app.worker.resources import Resources
from app.worker.worker import BATCHES, Worker
from tests.jobs.batch_fixtures import BatchQueue, line_of, queue_of, with_fake_batches
from tests.jobs.fixtures import Queue, until
from tests.worker.running import LONG, unavailable, working

pytestmark = pytest.mark.long

COUNT = 6


@pytest.fixture
def resources(resources: Resources, monkeypatch: pytest.MonkeyPatch) -> Resources:
    monkeypatch.setattr(batch_attempt, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(batch_attempt, "REPORT_SECONDS", 0.0)
    return with_fake_batches(resources)


@pytest.fixture
def batches(resources: Resources) -> BatchQueue:
    return queue_of(resources)


def step(resources: Resources, times: int = 1) -> None:
    for _ in range(times):
        assert until(Worker(resources, "here", BATCHES).step)


def claim_and_do_nothing(resources: Resources) -> Job | None:
    """Claim a batch with an expired lease, like a worker that is killed at once."""
    with resources.database.transaction() as session:
        return resources.jobs.claim(session, "lost", -1.0, resources.settings.max_attempts, BATCH_LANE)


def ids(lines: list[dict[str, Any]]) -> list[str]:
    return [line["custom_id"] for line in lines]


def test_answers_and_errors_go_to_two_files_in_the_order_of_the_requests(
    resources: Resources, batches: BatchQueue
) -> None:
    bodies = [{"status": status} for status in (200, 404, 200, 500)]
    job = batches.create(bodies, metadata={"a": "b"}, output_expires_after={"seconds": 3600, "anchor": "created_at"})
    assert batches.status(job) == "validating"
    step(resources)
    progress = batches.progress(job)
    assert batches.status(job) == "completed" and (progress.total, progress.completed, progress.failed) == (4, 2, 2)
    assert progress.in_progress_at and progress.finalizing_at and progress.cancelling_at is None
    output, errors = batches.lines(job, "output"), batches.lines(job, "error")
    assert (ids(output), ids(errors)) == (["r0", "r2"], ["r1", "r3"])
    assert [line["response"]["status_code"] for line in errors] == [404, 500]
    assert all(set(line) == {"id", "custom_id", "response", "error"} for line in output + errors)
    file = batches.files.get(str(progress.output_file_id), job.owner)
    assert (file.purpose, file.owner, file.filename) == ("batch_output", "alice", f"{job.id}_output.jsonl")
    assert file.expires_at == pytest.approx(file.created_at + 3600)
    assert not (resources.runs / job.id).exists() and not any(resources.trainers.folder.iterdir())


def test_a_file_without_lines_is_not_stored(resources: Resources, batches: BatchQueue) -> None:
    job = batches.create([{"status": 400}])
    step(resources)
    assert (batches.progress(job).output_file_id, ids(batches.lines(job, "error"))) == (None, ["r0"])


def test_an_invalid_file_fails_the_batch_with_all_errors(resources: Resources, batches: BatchQueue) -> None:
    job = batches.create(content=("{\n" + line_of(1, {}) + line_of(1, {})).encode())
    step(resources)
    errors = batches.progress(job).errors
    assert batches.status(job) == "failed"
    assert [(e["code"], e["line"]) for e in errors] == [("invalid_json_line", 1), ("duplicate_custom_id", 3)]
    assert (batches.get(job).error or {})["message"].startswith("line 1: ")


def test_a_refused_batch_leaves_no_files(
    resources: Resources, batches: BatchQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "prune", lambda *_: None)
    job = batches.create(content=b"{")
    step(resources)
    assert batches.status(job) == "failed" and not (resources.runs / job.id).exists()


def test_the_files_of_a_batch_whose_workers_were_lost_are_removed(resources: Resources, batches: BatchQueue) -> None:
    job = batches.create()
    until(lambda: claim_and_do_nothing(resources))
    RunDirectory(resources.runs, job.id).create()
    lose(resources, job, resources.settings.max_attempts)
    assert until(lambda: not claim_and_do_nothing(resources)) and batches.status(job) == "failed"
    batches.create()
    step(resources)
    assert not any(resources.runs.iterdir())


def test_a_killed_program_goes_on_where_it_stood(resources: Resources, batches: BatchQueue) -> None:
    """The program is killed in the middle of records, more often than is allowed for a batch without progress."""
    job = batches.create([{"kill": index % 2 == 1} for index in range(COUNT)])
    assert resources.settings.max_attempts == COUNT // 2
    step(resources, 4)
    output = batches.lines(job, "output")
    assert batches.status(job) == "completed" and ids(output) == [f"r{i}" for i in range(COUNT)]
    pids = [line["response"]["body"]["pid"] for line in output]
    assert len(set(pids)) == 4 and pids == sorted(pids, key=pids.index)  # each program answered its own share
    assert batches.get(job).attempt == 4


def test_answers_that_a_killed_worker_did_not_report_count_as_progress(
    resources: Resources, batches: BatchQueue
) -> None:
    job = batches.create([{}, {"exit": 1}])
    run = RunDirectory(resources.runs, job.id)
    run.create()
    with Spool(run.path / ANSWERS) as spool:
        spool.append(0, True, b"{}")
    with resources.database.transaction() as session:
        session.execute(update(JobRow).where(JobRow.id == job.id).values(losses=resources.settings.max_attempts - 1))
    step(resources)
    assert (batches.get(job).status, batches.get(job).losses, batches.progress(job).completed) == ("queued", 1, 1)


def test_a_program_that_never_advances_fails_the_batch(resources: Resources, batches: BatchQueue) -> None:
    job = batches.create([{"exit": 1}])
    step(resources, resources.settings.max_attempts)
    assert batches.status(job) == "failed" and (batches.get(job).error or {})["code"] == "trainer_lost"


def lose(resources: Resources, job: Job, losses: int) -> None:
    with resources.database.transaction() as session:
        session.execute(update(JobRow).where(JobRow.id == job.id).values(losses=losses))


def test_a_failed_batch_keeps_its_answers(resources: Resources, batches: BatchQueue) -> None:
    job = batches.create([{}, {"exit": 1}, {}])
    step(resources, resources.settings.max_attempts)
    assert batches.status(job) == "failed" and (batches.get(job).error or {})["code"] == "trainer_lost"
    assert ids(batches.lines(job, "output")) == ["r0"]
    errors = batches.lines(job, "error")
    assert [(e["custom_id"], e["error"]["code"]) for e in errors] == [("r1", "batch_failed"), ("r2", "batch_failed")]


def test_the_answers_of_a_batch_whose_workers_were_lost_are_stored(resources: Resources, batches: BatchQueue) -> None:
    job = batches.create([{}, {"exit": 1}])
    step(resources)
    lose(resources, job, resources.settings.max_attempts - 1)

    until(lambda: claim_and_do_nothing(resources))
    step(resources)
    assert batches.status(job) == "failed" and (batches.get(job).error or {})["code"] == "worker_lost"
    assert ids(batches.lines(job, "output")) == ["r0"]


def test_an_answer_just_before_the_end_of_the_program_counts_as_progress(
    resources: Resources, batches: BatchQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = Trainer.running
    monkeypatch.setattr(Trainer, "running", lambda self: until(lambda: not running(self)) and False)
    job = batches.create([{}, {"exit": 1}])
    lose(resources, job, resources.settings.max_attempts - 1)
    step(resources)
    assert (batches.get(job).status, batches.get(job).losses) == ("queued", 1)


def test_a_full_disk_is_waited_for(resources: Resources, batches: BatchQueue) -> None:
    job = batches.create([{"exit": EXIT_CODE}])
    step(resources)
    waiting = batches.get(job)
    assert (waiting.status, waiting.losses) == ("queued", 0) and batches.status(job) == "in_progress"


@pytest.mark.parametrize("ending", ["cancelled", "expired"])
def test_a_batch_that_is_over_frees_a_full_disk(
    resources: Resources, batches: BatchQueue, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(job_attempt, "DISK_SECONDS", 0.0)
    job = batches.create([{}, {"exit": EXIT_CODE}])
    step(resources)
    monkeypatch.setattr(type(resources.blobs), "put_stream", full)
    if ending == "cancelled":
        batches.batches.jobs.cancel(job.id, job.owner)
    else:
        age(resources, job, 86_400)
    step(resources)
    assert batches.status(job) == ("cancelling" if ending == "cancelled" else "finalizing")
    assert not batches.get(job).ended and (resources.runs / job.id).exists()
    monkeypatch.setattr(batch_attempt, "DISK_PATIENCE_SECONDS", 0.0)
    step(resources)
    assert batches.status(job) == ending and not (resources.runs / job.id).exists()


def test_a_cancelled_batch_keeps_the_answers_that_it_has(resources: Resources, batches: BatchQueue) -> None:
    job = batches.create([{}, {"status": 400}, {"wait": True}, {}])
    with working(resources, BATCHES):
        until(lambda: batches.progress(job).completed + batches.progress(job).failed == 2)
        assert batches.status(job) == "in_progress"
        batches.batches.jobs.cancel(job.id, job.owner)
        until(lambda: batches.get(job).ended)
    assert batches.status(job) == "cancelled" and batches.progress(job).cancelling_at
    assert ids(batches.lines(job, "output")) == ["r0"]
    errors = batches.lines(job, "error")
    assert ids(errors) == ["r1", "r2", "r3"]
    assert [(line["error"] or {}).get("code") for line in errors] == [None, "batch_cancelled", "batch_cancelled"]
    progress = batches.progress(job)
    assert (progress.total, progress.completed, progress.failed) == (4, 1, 3)


def test_a_batch_that_waits_for_another_attempt_keeps_its_answers_when_cancelled(
    resources: Resources, batches: BatchQueue
) -> None:
    job = batches.create([{}, {"wait": True}])
    with working(resources, BATCHES):
        until(lambda: batches.progress(job).completed == 1)
    assert batches.get(job).status == "queued"
    batches.batches.jobs.cancel(job.id, job.owner)
    assert batches.status(job) == "cancelling"
    step(resources)
    assert batches.status(job) == "cancelled" and ids(batches.lines(job, "output")) == ["r0"]


def test_a_batch_without_an_attempt_is_cancelled_at_once(batches: BatchQueue) -> None:
    job = batches.create()
    batches.batches.jobs.cancel(job.id, job.owner)
    assert batches.status(job) == "cancelled"


def age(resources: Resources, job: Job, seconds: float) -> None:
    with resources.database.transaction() as session:
        session.execute(update(JobRow).where(JobRow.id == job.id).values(created_at=JobRow.created_at - seconds))


def test_requests_that_are_not_answered_in_a_day_expire(
    resources: Resources, batches: BatchQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, offset = batches.create([{}, {"wait": True}]), 0.0
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + offset, sleep=time.sleep)
    monkeypatch.setattr(batch_attempt, "time", clock)
    with working(resources, BATCHES):
        until(lambda: batches.progress(job).completed == 1)
        offset = 86_400.0
        until(lambda: batches.get(job).ended)
    assert batches.status(job) == "expired"
    assert ids(batches.lines(job, "output")) == ["r0"]
    [error] = batches.lines(job, "error")
    assert (error["custom_id"], error["response"], error["error"]["code"]) == ("r1", None, "batch_expired")
    late = batches.create([{}])
    age(resources, late, 86_400)
    step(resources)
    assert batches.status(late) == "expired" and ids(batches.lines(late, "error")) == ["r0"]


def test_a_store_that_is_unavailable_is_waited_for(
    resources: Resources, batches: BatchQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_attempt.JobAttempt, "_retry", lambda self, why, lost: f"{why}, {lost}")
    batches.create()
    with monkeypatch.context() as patch:
        patch.setattr(type(resources.blobs), "put_stream", unavailable)
        with resources.database.transaction() as session:
            job = resources.jobs.claim(session, "w", 8.0, 3, BATCH_LANE)
        assert job is not None
        assert batch_attempt.BatchAttempt(resources, job, lambda: False).run() == "unavailable, False"
    assert batch_attempt.BatchAttempt(resources, job, lambda: False).run() == "succeeded"  # without the program


def test_a_training_does_not_block_batches(queue: Queue, resources: Resources, batches: BatchQueue) -> None:
    training = queue.create(plan=LONG)
    with working(resources), working(resources, BATCHES):
        until(lambda: queue.steps(training))
        job = batches.create()
        until(lambda: batches.get(job).ended)
        assert queue.get(training).status == "running" and batches.status(job) == "completed"
    assert queue.get(training).jobs_before == 0


def test_a_superseded_attempt_stores_nothing(resources: Resources, batches: BatchQueue) -> None:
    job = batches.create([{}, {"wait": True}])
    with working(resources, BATCHES):
        until(lambda: batches.progress(job).completed == 1)
        with resources.database.transaction() as session:
            session.execute(update(JobRow).where(JobRow.id == job.id).values(attempt=JobRow.attempt + 1))
        until(lambda: not any(resources.trainers.folder.iterdir()))
    assert batches.get(job).status == "running" and batches.progress(job).output_file_id is None
