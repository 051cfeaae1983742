"""Reading, cancelling, pausing and resuming jobs, on both databases."""

from __future__ import annotations

import pytest
from sqlalchemy import update

from app.db.tables import JobRow
from app.errors import InvalidRequest, NotFound
from tests.jobs.fixtures import OWNER, Queue, claim


def test_a_file_in_use_is_not_deleted(queue: Queue) -> None:
    job = queue.create()
    with pytest.raises(InvalidRequest) as caught:
        queue.files.delete(job.training_file, "alice")
    assert caught.value.code == "file_in_use"
    queue.jobs.cancel(job.id, "alice")
    queue.files.delete(job.training_file, "alice")


def test_lists_are_paged_and_filtered(queue: Queue) -> None:
    jobs = [queue.create(metadata={"n": str(n), 'odd \u00e9."k': "1"} if n else None) for n in range(5)]
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


def test_a_job_of_another_owner_is_not_found(queue: Queue) -> None:
    job = queue.create()
    for call in (queue.jobs.get, queue.jobs.cancel, queue.jobs.pause, queue.jobs.resume, queue.jobs.events):
        for id_, who in ((job.id, "bob"), ("ftjob-none", "alice"), ("' OR 1=1\x00", "alice")):
            with pytest.raises(NotFound) as caught:
                call(id_, who)
            assert caught.value.code == "job_not_found"
    assert queue.jobs.get(job.id, "local").id == job.id


def test_a_queued_job_says_how_many_are_before_it(queue: Queue) -> None:
    running, demo = queue.create(), queue.create(priority=-10)
    claim(queue)
    first, second = queue.create(owner="bob"), queue.create()
    before = {job.id: queue.jobs.get(job.id, "local").jobs_before for job in (running, first, second, demo)}
    assert list(before.values()) == [None, 1, 2, 3]
    queue.jobs.cancel(first.id, "bob")
    assert queue.jobs.get(second.id, "alice").jobs_before == 1


def test_a_queued_job_is_cancelled_at_once(queue: Queue) -> None:
    job = queue.create()
    assert queue.jobs.cancel(job.id, "alice").status == "cancelled"
    with pytest.raises(InvalidRequest) as caught:
        queue.jobs.cancel(job.id, "alice")
    assert (caught.value.status, caught.value.code) == (400, "invalid_job_state")
    assert claim(queue) is None


def test_cancelling_a_running_job_twice_sets_its_flag(queue: Queue) -> None:
    job = queue.create()
    claim(queue)
    for _ in range(2):
        row = queue.jobs.cancel(job.id, "alice")
        assert (row.status, row.cancel_requested, row.phase) == ("running", True, "stopping")
    with pytest.raises(InvalidRequest):
        queue.jobs.pause(job.id, "alice")


def test_only_jobs_in_the_right_state_are_paused_and_resumed(queue: Queue) -> None:
    job = queue.create()
    with pytest.raises(InvalidRequest):
        queue.jobs.resume(job.id, "alice")
    assert queue.jobs.pause(job.id, "alice").status == "paused"
    with pytest.raises(InvalidRequest):
        queue.jobs.pause(job.id, "alice")
    assert claim(queue) is None
    assert queue.jobs.resume(job.id, "alice").status == "queued"
    assert claim(queue).id == job.id


def test_a_job_whose_worker_is_lost_shows_as_queued(queue: Queue) -> None:
    """This holds even if no other worker notices the loss."""
    job = queue.create()
    claim(queue)
    assert queue.get(job).public_status == "validating_files"
    with queue.database.transaction() as session:
        session.execute(update(JobRow).values(phase="training", lease_until=JobRow.lease_until - 200))
    [listed] = queue.jobs.list("alice").items
    for seen in (listed, queue.get(job)):
        assert (seen.public_status, seen.public_phase, seen.lost) == ("queued", "waiting", True)
    again = claim(queue)
    assert (again.id, again.attempt, queue.get(job).public_status) == (job.id, 2, "validating_files")


def test_events_are_paged_newest_first(queue: Queue) -> None:
    job = queue.create()
    queue.jobs.pause(job.id, "alice")
    claim(queue)
    page = queue.jobs.events(job.id, "alice", limit=1)
    assert page.has_more
    rest = queue.jobs.events(job.id, "alice", after=page.items[-1].id)
    assert [event.kind for event in page.items + rest.items] == ["job.paused", "job.created"]
    assert not rest.has_more


def test_every_queued_job_of_a_list_has_its_place(queue: Queue) -> None:
    low = queue.create(priority=-1)
    running, second, third = (queue.create() for _ in range(3))
    assert claim(queue).id == running.id
    places = {job.id: job.jobs_before for job in queue.jobs.list(OWNER).items}
    assert places == {running.id: None, second.id: 1, third.id: 2, low.id: 3}
    assert all(queue.get(job).jobs_before == places[job.id] for job in (low, running, second, third))
