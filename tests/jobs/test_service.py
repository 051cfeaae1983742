"""Asking for jobs, watching and steering them: on both databases."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from app.db.tables import JobRow
from app.errors import InvalidRequest, NotFound
from app.jobs.repository import JobRepository
from app.registry.service import Registry
from tests.checkpoints import make_checkpoint, publish
from tests.jobs.fixtures import OWNER, Queue


def refused(queue: Queue, **fields: Any) -> Any:
    with pytest.raises((InvalidRequest, NotFound)) as caught:
        queue.ask(**fields)
    return caught.value


def claim(queue: Queue, worker: str = "w") -> Any:
    with queue.database.transaction() as session:
        return JobRepository(queue.database).claim(session, worker, 100.0, 3)


def test_a_new_job_waits_and_says_so(queue: Queue) -> None:
    job = queue.ask(metadata={"team": "a"}, training={"epochs": 2})
    assert (job.status, job.public_status, job.attempt, job.owner) == ("queued", "queued", 0, "alice")
    assert 0 <= job.seed < 2**31
    assert job.publish_name == f"lstm-{job.id[-8:]}"
    assert job.request["training"] == {"epochs": 2.0}
    assert job.request["spec"]["seed"] == job.seed
    assert job.request["spec"]["training_file"]["path"] == "inputs/training"
    assert [event.message for event in queue.story(job)] == [f"Created fine-tuning job: {job.id}"]


def test_names_come_from_publish_then_suffix(queue: Queue) -> None:
    assert queue.ask(suffix="Very Nice").publish_name == "very-nice"
    assert queue.ask(suffix="x", publish={"name": "Mood", "alias": "champion"}).publish_name == "mood"
    assert refused(queue, publish={"name": "ftckpt-1"}).param == "publish.name"
    assert refused(queue, publish={"alias": "No Alias"}).param == "publish.alias"


def test_a_name_of_somebody_else_is_refused_at_once(queue: Queue, registry: Registry, tmp_path: Path) -> None:
    publish(registry, make_checkpoint(tmp_path / "c"), name="mood", owner="bob")
    error = refused(queue, suffix="mood")
    assert (error.code, error.param) == ("model_name_taken", "suffix")


def test_files_must_be_there_and_ones_own(queue: Queue) -> None:
    theirs = queue.upload(owner="bob")
    for id_ in ("file-none", theirs):
        error = refused(queue, training_file=id_)
        assert (error.status, error.code, error.param) == (400, "file_not_found", "training_file")
    assert refused(queue, validation_file=theirs).param == "validation_file"


def test_a_file_in_use_is_not_deleted(queue: Queue) -> None:
    job = queue.ask()
    with pytest.raises(InvalidRequest) as caught:
        queue.files.delete(job.training_file, "alice")
    assert caught.value.code == "file_in_use"
    queue.jobs.cancel(job.id, "alice")
    queue.files.delete(job.training_file, "alice")


def test_fine_tuning_pins_the_version_that_the_reference_means_now(
    queue: Queue, registry: Registry, tmp_path: Path
) -> None:
    base = publish(registry, make_checkpoint(tmp_path / "a"))
    job = queue.ask(model="mood")
    publish(registry, make_checkpoint(tmp_path / "b", seed=1))
    assert queue.look(job).base_digest == base.digest
    assert (job.request["spec"]["model"], job.request["base"]["reference"]) == ("base", "mood:1")
    assert refused(queue, model="mood", training={"width": 16}).param == "training.width"
    assert refused(queue, model="mood", owner="bob").code == "model_not_found"
    assert "lstm" in refused(queue, model="lstmm").message


def test_an_idempotency_key_makes_one_job(queue: Queue) -> None:
    file = queue.upload()
    first = queue.ask(training_file=file, idempotency_key="k")
    assert queue.ask(training_file=file, idempotency_key="k").id == first.id
    assert refused(queue, training_file=file, suffix="x", idempotency_key="k").code == "idempotency_key_reused"
    other = queue.upload(owner="bob")
    assert queue.ask("bob", training_file=other, idempotency_key="k").id != first.id


def test_one_key_at_the_same_moment_makes_one_job(queue: Queue) -> None:
    file = queue.upload()
    made: list[str] = []
    threads = [
        threading.Thread(target=lambda: made.append(queue.ask(training_file=file, idempotency_key="k").id))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 4
    assert len(set(made)) == 1


def test_a_clients_own_retry_means_the_job_just_made(queue: Queue) -> None:
    file = queue.upload()
    first = queue.ask(training_file=file)
    assert queue.ask(training_file=file, retry_count=1).id == first.id
    assert queue.ask(training_file=file).id != first.id
    assert queue.ask(training_file=file, suffix="other", retry_count=1).id != first.id
    with queue.database.transaction() as session:
        session.execute(update(JobRow).values(created_at=JobRow.created_at - 3600))
    assert queue.ask(training_file=file, retry_count=1).id != first.id


def test_lists_are_paged_and_filtered(queue: Queue) -> None:
    jobs = [queue.ask(metadata={"n": str(n), 'odd \u00e9."k': "1"} if n else None) for n in range(5)]
    page = queue.jobs.list("alice", limit=2)
    assert ([job.id for job in page.items], page.has_more) == ([jobs[4].id, jobs[3].id], True)
    page = queue.jobs.list("alice", limit=3, after=jobs[3].id)
    assert ([job.id for job in page.items], page.has_more) == ([jobs[2].id, jobs[1].id, jobs[0].id], False)
    assert [j.id for j in queue.jobs.list("alice", metadata={"n": "2", 'odd \u00e9."k': "1"}).items] == [jobs[2].id]
    assert queue.jobs.list("alice", metadata={"n": "2", "m": "1"}).items == []
    assert [j.id for j in queue.jobs.list("alice", without_metadata=True).items] == [jobs[0].id]
    assert queue.jobs.list("bob").items == []
    assert len(queue.jobs.list("local").items) == 5
    with pytest.raises(InvalidRequest):
        queue.jobs.list("alice", metadata={"a": "\x00"})


def test_anothers_job_does_not_exist(queue: Queue) -> None:
    job = queue.ask()
    for what in (queue.jobs.get, queue.jobs.cancel, queue.jobs.pause, queue.jobs.resume, queue.jobs.events):
        for id_, who in ((job.id, "bob"), ("ftjob-none", "alice"), ("' OR 1=1\x00", "alice")):
            with pytest.raises(NotFound) as caught:
                what(id_, who)
            assert caught.value.code == "job_not_found"
    assert queue.jobs.get(job.id, "local").id == job.id


def test_a_queued_job_is_cancelled_at_once_and_once(queue: Queue) -> None:
    job = queue.ask()
    assert queue.jobs.cancel(job.id, "alice").status == "cancelled"
    with pytest.raises(InvalidRequest) as caught:
        queue.jobs.cancel(job.id, "alice")
    assert (caught.value.status, caught.value.code) == (400, "invalid_job_state")
    assert claim(queue) is None


def test_a_running_job_is_asked_and_asked_again(queue: Queue) -> None:
    job = queue.ask()
    claim(queue)
    for _ in range(2):
        asked = queue.jobs.cancel(job.id, "alice")
        assert (asked.status, asked.cancel_requested, asked.phase) == ("running", True, "stopping")
    with pytest.raises(InvalidRequest):
        queue.jobs.pause(job.id, "alice")


def test_pause_and_resume_fit_their_states(queue: Queue) -> None:
    job = queue.ask()
    with pytest.raises(InvalidRequest):
        queue.jobs.resume(job.id, "alice")
    assert queue.jobs.pause(job.id, "alice").status == "paused"
    with pytest.raises(InvalidRequest):
        queue.jobs.pause(job.id, "alice")
    assert claim(queue) is None
    assert queue.jobs.resume(job.id, "alice").status == "queued"
    assert claim(queue).id == job.id


def test_claims_go_by_priority_then_age_and_rest_after_a_loss(queue: Queue) -> None:
    jobs = [queue.ask(priority=priority) for priority in (0, 5, 0)]
    first = claim(queue)
    assert first.id == jobs[1].id
    assert first.public_status == "validating_files"
    repository = JobRepository(queue.database)
    with queue.database.transaction() as session:
        repository.requeue(session, first.id, first.attempt, lost=True, delay=50.0)
    assert [claim(queue).id, claim(queue).id] == [jobs[0].id, jobs[2].id]
    assert claim(queue) is None
    with queue.database.transaction() as session:
        session.execute(update(JobRow).where(JobRow.id == first.id).values(lease_until=JobRow.lease_until - 60))
    again = claim(queue)
    assert (again.id, again.attempt, again.losses) == (first.id, 2, 1)


def test_a_job_whose_worker_is_lost_is_queued_for_those_who_look(queue: Queue) -> None:
    """Also where no worker is left that would notice."""
    job = queue.ask()
    claim(queue)
    assert queue.look(job).public_status == "validating_files"
    with queue.database.transaction() as session:
        session.execute(update(JobRow).values(phase="training", lease_until=JobRow.lease_until - 200))
    [listed] = queue.jobs.list("alice").items
    for seen in (listed, queue.look(job)):
        assert (seen.public_status, seen.public_phase, seen.lost) == ("queued", "waiting", True)
    again = claim(queue)
    assert (again.id, again.attempt, queue.look(job).public_status) == (job.id, 2, "validating_files")


def test_two_workers_never_get_the_same_job(queue: Queue) -> None:
    asked = {queue.ask().id for _ in range(6)}
    claimed: list[str] = []
    ready = threading.Barrier(3)

    def work(name: str) -> None:
        ready.wait()
        while job := claim(queue, name):
            claimed.append(job.id)

    threads = [threading.Thread(target=work, args=(f"w{n}",)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    while job := claim(queue):  # a locked row is passed over, never waited for
        claimed.append(job.id)
    assert sorted(claimed) == sorted(asked)


def test_events_are_paged_newest_first(queue: Queue) -> None:
    job = queue.ask()
    queue.jobs.pause(job.id, "alice")
    claim(queue)
    page = queue.jobs.events(job.id, "alice", limit=1)
    assert page.has_more
    rest = queue.jobs.events(job.id, "alice", after=page.items[-1].id)
    assert [event.kind for event in page.items + rest.items] == ["job.paused", "job.created"]
    assert not rest.has_more


def test_columns_named_with_the_validation_file_are_those_of_the_job(queue: Queue) -> None:
    """Both files are read alike, so other names would do nothing."""
    with_names = lambda roles: queue.files.create(OWNER, "a.csv", "fine-tune", iter([b"{}"]), roles=roles).id  # noqa: E731
    training, held_out = with_names({"text": "body"}), with_names({"text": "words"})
    with pytest.raises(InvalidRequest) as caught:
        queue.ask(training_file=training, validation_file=held_out)
    assert caught.value.param == "validation_file"
    assert "columns[text]='words', named with that file, would do nothing" in caught.value.message
    assert queue.ask(training_file=training, validation_file=with_names({"text": "body"}))
    assert queue.ask(training_file=training, validation_file=held_out, columns={"text": "words"})
