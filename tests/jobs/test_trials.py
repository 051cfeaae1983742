"""Auto jobs and their trials: random and concurrent operations of clients and workers."""

from __future__ import annotations

import importlib.util
import random
import sys
import threading
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from sqlalchemy import Text, and_, cast, delete, func, select, text, update
from sqlalchemy.orm import Session

from app.db.database import Database
from app.db.tables import JobEventRow, JobRow, WebhookDeliveryRow, WebhookEndpointRow
from app.errors import InvalidRequest
from app.jobs import logbook, queries, selection, trials
from app.jobs.claims import JobClaims
from app.jobs.records import ENDED, TRAINING_LANE, Fenced, Job
from app.jobs.repository import JobRepository
from app.wire.trainer import DataFile, PlannedTrial, TrainSpec
from app.wire.training_options import TrainingOptions
from tests.jobs.fixtures import Queue, claim, until
from tests.webhooks.fixtures import add_endpoint

pytestmark = pytest.mark.long

MAX_ATTEMPTS, LEASE = 3, 500.0
GATE = 7  # an advisory lock of PostgreSQL
SPEC = msgspec.to_builtins(TrainSpec("auto", DataFile("inputs/training", "data.csv", "0" * 64), seed=1))
MODELS = ("linear", "gru", "transformer")


def planned(count: int) -> list[PlannedTrial]:
    return [PlannedTrial(model, TrainingOptions(), 10, 5, float(n)) for n, model in enumerate(MODELS[:count], start=1)]


class Shop:
    """Acts as the clients and workers of a database. Each operation is one transaction."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.clients, self.workers = JobRepository(database), JobClaims(database)
        with database.transaction() as session:
            session.execute(delete(WebhookEndpointRow))  # the endpoint of an earlier shop
        add_endpoint(database)

    def create(self, number: int, model: str = "auto") -> str:
        with self.database.transaction() as session:
            return self.clients.insert(
                session, id=f"ftjob-{number:04d}", owner="alice", body_sha256="0" * 64, request={"spec": SPEC},
                model=model, training_file="file-1", seed=1, publish_name="x",
            ).id  # fmt: skip

    def client(self, action: str, job_id: str) -> None:
        """Cancel, pause or resume a job if its state allows this, as `Jobs` does."""
        with self.database.transaction() as session:
            job = self.clients.lock(session, job_id)
            assert job is not None
            if (
                (action == "cancel" and not job.ended)
                or (action == "pause" and job.status in trials.ACTIVE and not job.cancel_requested)
                or (action == "resume" and job.status == "paused")
            ):
                getattr(self.clients, action)(session, job)

    def claim(self, worker: str = "w") -> Job | None:
        with self.database.transaction() as session:
            return self.workers.claim(session, worker, LEASE, MAX_ATTEMPTS, TRAINING_LANE)

    def work(self, job: Job, outcome: str) -> None:
        """Perform the operation with which a worker ends an attempt.

        An attempt that no longer holds its job changes nothing.
        """
        try:
            with self.database.transaction() as session:
                self._work(session, job, outcome)
        except Fenced:
            return
        if job.parent_id is not None:
            with self.database.transaction() as session:
                self.workers.report_trials(session, job.parent_id)

    def _work(self, session: Session, job: Job, outcome: str) -> None:
        if outcome in ("lost", "stopped"):
            self.workers.requeue(session, job.id, job.attempt, lost=outcome == "lost")
        elif job.automatic and job.phase == "validating_files":
            self.workers.begin_trials(session, job, "classification", planned(1 + int(job.id[-1]) % 3))
        else:
            self.workers.finish(session, job.id, job.attempt, outcome)
            assert all(trial.ended for trial in trials.of(session, job.id))

    def lose(self, job_id: str) -> None:
        running = (JobRow.id == job_id, JobRow.status == "running", JobRow.lease_until.is_not(None))
        with self.database.transaction() as session:
            session.execute(update(JobRow).where(*running).values(lease_until=JobRow.lease_until - 1e6))

    def jobs(self) -> dict[str, Job]:
        with self.database.read() as session:
            return {row.id: Job.of(row) for row in session.scalars(select(JobRow))}

    def clear(self) -> None:
        with self.database.transaction() as session:
            session.execute(delete(JobEventRow))
            session.execute(delete(JobRow))
            session.execute(delete(WebhookDeliveryRow))

    def check(self) -> None:
        """Check the conditions that must hold between any two operations."""
        with self.database.read() as session:
            jobs = {row.id: Job.of(row) for row in session.scalars(select(JobRow))}
            log = session.scalars(select(JobEventRow)).all()
            sent = session.execute(select(WebhookDeliveryRow.type, WebhookDeliveryRow.subject)).all()
        ended = [(f"fine_tuning.job.{job.status}", job.id) for job in jobs.values() if job.ended and not job.parent_id]
        assert sorted(map(tuple, sent)) == sorted(ended)
        for job in jobs.values():
            of_job = [trial for trial in jobs.values() if trial.parent_id == job.id]
            assert [t.trial for t in sorted(of_job, key=lambda t: t.trial or 0)] == list(range(1, len(of_job) + 1))
            assert len(of_job) in ((0, 1 + int(job.id[-1]) % 3) if job.automatic else (0,))
            if job.ended:
                assert all(trial.ended for trial in of_job)
            if job.status == "paused":
                assert not any(trial.status in trials.ACTIVE for trial in of_job)
            if job.status == "queued" and of_job:
                assert all(trial.ended for trial in of_job)
            self._check_log(job, of_job, log)

    def _check_log(self, job: Job, of_job: list[Job], log: Sequence[JobEventRow]) -> None:
        kinds = [(event.kind, event.step) for event in log if event.job_id == job.id]
        assert kinds.count(("job.ended", 0)) == job.ended
        ended = {step for kind, step in kinds if kind == "trial.ended"}
        assert ended <= {trial.trial for trial in of_job if trial.ended}

    def finish_all(self) -> None:
        """Act as a single worker, without clients, until no job is left."""
        for _ in range(90):
            for each in self.jobs().values():  # if a job to be paused is lost, only the next claim pauses it
                self.client("resume", each.id) if each.parent_id is None else None
            job = self.claim()
            if job is not None:
                self.work(job, "succeeded")
                self.check()
            elif all(each.ended for each in self.jobs().values()):
                break
        assert all(job.ended for job in self.jobs().values())


class AutoLife(RuleBasedStateMachine):
    database: Database

    def __init__(self) -> None:
        super().__init__()
        self.shop = Shop(self.database)
        self.shop.clear()
        self.created: list[str] = []
        self.claims: list[Job] = []
        self.cancelled: set[str] = set()  # jobs that a client has cancelled

    @rule(model=st.sampled_from(["auto", "auto", "lstm"]))
    @precondition(lambda self: len(self.created) < 3)
    def create(self, model: str) -> None:
        self.created.append(self.shop.create(len(self.created), model))

    @rule(action=st.sampled_from(["cancel", "pause", "resume"]), data=st.data())
    @precondition(lambda self: self.created)
    def ask(self, action: str, data: st.DataObject) -> None:
        job_id = data.draw(st.sampled_from(self.created))
        if action == "cancel" and not self.shop.jobs()[job_id].ended:
            self.cancelled.add(job_id)
        self.shop.client(action, job_id)

    @rule(data=st.data())
    @precondition(lambda self: any(job.parent_id for job in self.claims))
    def cancel_trial(self, data: st.DataObject) -> None:
        self.shop.client("cancel", data.draw(st.sampled_from([job.id for job in self.claims if job.parent_id])))

    @rule(worker=st.sampled_from(["one", "two"]))
    def claim(self, worker: str) -> None:
        with self.database.read() as session:
            due = self.shop.workers.claimable(session, TRAINING_LANE)
        before = self.shop.jobs()
        job = self.shop.claim(worker)
        if job is not None:
            self.claims.append(job)
        assert due == (job is not None or before != self.shop.jobs())

    @rule(outcome=st.sampled_from(["succeeded", "succeeded", "failed", "lost", "stopped"]), data=st.data())
    @precondition(lambda self: self.claims)
    def work(self, outcome: str, data: st.DataObject) -> None:
        # mostly the newest claim; a late write may come from any of them
        job = data.draw(st.one_of(st.just(self.claims[-1]), st.sampled_from(self.claims)))
        self.shop.work(job, outcome)

    @rule(data=st.data())
    @precondition(lambda self: self.claims)
    def lose(self, data: st.DataObject) -> None:
        self.shop.lose(data.draw(st.sampled_from(self.claims)).id)

    @invariant()
    def everything_agrees(self) -> None:
        self.shop.check()

    def teardown(self) -> None:
        for job in self.shop.jobs().values():
            self.shop.lose(job.id)  # the workers so far are gone
        self.shop.finish_all()
        jobs = self.shop.jobs()
        for job_id in self.cancelled:
            of_job = [trial for trial in jobs.values() if trial.parent_id == job_id]
            # a worker that is about to publish when the request comes may still do so
            assert jobs[job_id].status == "cancelled" or all(trial.ended for trial in of_job)


def test_auto_jobs_and_their_trials_agree_after_any_sequence(database: Database) -> None:
    machine = type("AutoLifeOnThisDatabase", (AutoLife,), {"database": database})
    effort = settings(
        max_examples=25,
        stateful_step_count=40,
        suppress_health_check=list(HealthCheck),
        database=None,
        phases=[Phase.generate],
    )
    run_state_machine_as_test(machine, settings=effort)


def test_workers_and_clients_at_the_same_time_wait_for_each_other_but_never_forever(database: Database) -> None:
    shop = Shop(database)
    created = [shop.create(number) for number in range(3)]
    failures: list[BaseException] = []

    def run(actions: Callable[[random.Random], None], seed: int) -> None:
        draw = random.Random(seed)
        try:
            for _ in range(25):
                actions(draw)
        except BaseException as error:
            failures.append(error)
            raise

    def work(draw: random.Random) -> None:
        if (job := shop.claim()) is not None:
            shop.work(job, draw.choice(["succeeded", "succeeded", "stopped"]))

    def ask(draw: random.Random) -> None:
        shop.client(draw.choice(["pause", "resume", "resume"]), draw.choice(created))

    threads = [threading.Thread(target=run, args=(a, seed)) for seed, a in enumerate([work, work, work, ask, ask])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert failures == []
    shop.check()
    shop.finish_all()


@pytest.fixture
def shop(database: Database) -> Shop:
    return Shop(database)


def claimed(shop: Shop) -> Job:
    job = shop.claim()
    assert job is not None
    return job


def planned_job(shop: Shop, number: int = 2) -> tuple[str, list[Job]]:
    """Create an auto job that waits for its trials: two trials for job 1, three for job 2."""
    job_id = shop.create(number)
    shop.work(claimed(shop), "planned")
    with shop.database.read() as session:
        return job_id, trials.of(session, job_id)


def test_one_worker_alone_runs_the_trials_in_order_and_then_ends_the_job(shop: Shop) -> None:
    job_id, _ = planned_job(shop)
    later = shop.create(5, "lstm")
    order: list[Any] = []
    while job := shop.claim():
        order.append((job.model, job.phase))
        shop.work(job, "failed" if job.model == "gru" else "succeeded")
    assert order == [
        *((model, "validating_files") for model in MODELS),
        ("auto", "publishing"),
        ("lstm", "validating_files"),  # created earlier than the trials were, but later than their parent
    ]
    assert shop.jobs()[job_id].status == shop.jobs()[later].status == "succeeded"
    with shop.database.read() as session:
        events = logbook.events(session, job_id, None, 100).items[::-1]
    assert [(e.step, e.level, e.data["status"]) for e in events if e.kind == "trial.ended"] == [
        (1, "warn", "succeeded"),  # has no result: only a real worker stores it
        (2, "warn", "failed"),
        (3, "warn", "succeeded"),
    ]


def test_a_cancelled_job_ends_when_its_running_trial_has_stopped(shop: Shop) -> None:
    job_id, of_job = planned_job(shop)
    running = claimed(shop)
    shop.client("cancel", job_id)
    jobs = shop.jobs()
    assert (jobs[job_id].status, jobs[job_id].phase, jobs[job_id].cancel_requested) == ("running", "stopping", True)
    assert [jobs[t.id].status for t in of_job] == ["running", "cancelled", "cancelled"]
    assert jobs[running.id].cancel_requested
    shop.work(running, "stopped")
    assert shop.claim() is None
    assert {job.status for job in shop.jobs().values()} == {"cancelled"}


def test_a_paused_job_resumes_with_its_unfinished_trials(shop: Shop) -> None:
    job_id, of_job = planned_job(shop)
    shop.work(claimed(shop), "succeeded")
    shop.client("pause", job_id)
    assert [shop.jobs()[i].status for i in (job_id, *(t.id for t in of_job))] == [
        "paused", "succeeded", "paused", "paused"
    ]  # fmt: skip
    assert shop.claim() is None
    shop.client("resume", job_id)
    assert [shop.jobs()[i].status for i in (job_id, *(t.id for t in of_job))] == [
        "running", "succeeded", "queued", "queued"
    ]  # fmt: skip


@pytest.mark.postgres
def test_a_claim_during_the_end_of_the_planning_does_not_take_the_job_before_its_trials(
    postgres_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop, real = Shop(postgres_database), selection.claimable
    claims: list[Job | None] = []
    job_id = shop.create(1)
    planner = claimed(shop)
    shop.lose(job_id)  # the planner's lease has expired, but it is still alive
    wait = cast(func.pg_advisory_xact_lock_shared(GATE), Text) == ""
    claimer = threading.Thread(target=lambda: claims.append(shop.claim("late")))
    with shop.database.transaction() as gate:
        gate.execute(select(func.pg_advisory_xact_lock(GATE)))
        # The claim waits inside its query: after the query's snapshot, and before the row is locked.
        monkeypatch.setattr(selection, "claimable", lambda now, busy: and_(real(now, busy), wait))
        claimer.start()
        waiting = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
        until(lambda: gate.scalar(waiting))
        monkeypatch.undo()
        shop.work(planner, "planned")
    claimer.join(60)
    assert claims == [None]
    assert shop.jobs()[job_id].status == "running"
    shop.finish_all()


@pytest.mark.postgres
def test_a_job_that_is_resumed_and_paused_again_is_not_paused_before_its_trials(
    postgres_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop, real = Shop(postgres_database), trials.stopped
    job_id = shop.create(1)
    shop.work(claimed(shop), "planned")
    trial = claimed(shop)
    shop.client("pause", job_id)
    shop.work(trial, "stopped")  # now the job can be paused too
    wait = cast(func.pg_advisory_xact_lock_shared(GATE), Text) == ""
    claims: list[Job | None] = []
    claimer = threading.Thread(target=lambda: claims.append(shop.claim("late")))
    with shop.database.transaction() as gate:
        gate.execute(select(func.pg_advisory_xact_lock(GATE)))
        monkeypatch.setattr(trials, "stopped", lambda: and_(real(), wait))
        claimer.start()
        waiting = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
        until(lambda: gate.scalar(waiting))
        monkeypatch.undo()
        assert shop.claim() is None and shop.jobs()[job_id].status == "paused"
        shop.client("resume", job_id)
        claimed_again = claimed(shop)
        assert claimed_again.id == trial.id
        shop.client("pause", job_id)
    claimer.join(60)
    assert claims == [None]
    assert shop.jobs()[trial.id].status == shop.jobs()[job_id].status == "running"
    shop.work(claimed_again, "stopped")
    assert shop.claim() is None and shop.jobs()[job_id].status == "paused"
    shop.client("resume", job_id)
    shop.finish_all()


def test_threads_that_build_the_first_queries_at_the_same_time_find_the_trials() -> None:
    expected, interval = str(trials.complete()), sys.getswitchinterval()

    def build(module: ModuleType, together: threading.Barrier, built: list[str]) -> None:
        together.wait()
        built.append(str(module.complete()))

    sys.setswitchinterval(1e-6)
    try:
        for _ in range(300):
            spec = importlib.util.spec_from_file_location("app.jobs.new_trials", trials.__file__)
            assert spec is not None and spec.loader is not None
            module = importlib.util.module_from_spec(spec)  # as in a program that has just started
            spec.loader.exec_module(module)
            built: list[str] = []
            together = threading.Barrier(4)
            threads = [threading.Thread(target=build, args=(module, together, built)) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert built == [expected] * 4
    finally:
        sys.setswitchinterval(interval)


def test_a_job_that_was_read_before_its_trials_were_planned_has_none_yet(queue: Queue) -> None:
    queue.create(model="auto")
    job = claim(queue)
    with queue.database.transaction() as session:
        JobClaims(queue.database).begin_trials(session, job, "classification", planned(2))
    with queue.database.read() as session:
        assert trials.attach(session, [job], 0.0) == [job]
        assert len(trials.attach(session, [queue.get(job)], 0.0)[0].trials) == 2


def test_lists_and_queues_count_an_auto_job_once(queue: Queue) -> None:
    auto = queue.create(model="auto")
    job = claim(queue)
    with queue.database.transaction() as session:
        JobClaims(queue.database).begin_trials(session, job, "classification", planned(2))
    after = queue.create()
    assert after.jobs_before == 1
    assert [job.id for job in queue.jobs.list("alice").items] == [after.id, auto.id]
    assert len(queue.jobs.list("alice", with_trials=True).items) == 4
    shown = queue.get(auto)
    assert (shown.public_status, shown.phase, shown.progress) == ("running", "training", 0.0)
    assert [trial.model for trial in shown.trials] == ["linear", "gru"]
    with queue.database.transaction() as session:
        row = JobRow.id == shown.trials[1].id
        session.execute(update(JobRow).where(row).values(progress=0.5, status="running"))
    assert queue.get(auto).progress == pytest.approx(2 * 0.5 / 3)
    with queue.database.read() as session:
        assert queries.get(session, shown.trials[0].id) is not None


def test_a_trial_can_be_cancelled_but_neither_paused_nor_resumed_alone(queue: Queue) -> None:
    auto = queue.create(model="auto")
    job = claim(queue)
    with queue.database.transaction() as session:
        JobClaims(queue.database).begin_trials(session, job, "classification", planned(2))
    first, second = queue.get(auto).trials
    for action in (queue.jobs.pause, queue.jobs.resume):
        with pytest.raises(InvalidRequest, match=f"trial of {auto.id}"):
            action(first.id, "alice")
    queue.jobs.cancel(first.id, "alice")
    assert [t.status for t in queue.get(auto).trials] == ["cancelled", "queued"]
    assert queue.get(auto).status == "running"
    assert claim(queue).id == second.id


def test_every_final_status_counts_as_ended() -> None:
    assert not set(trials.UNFINISHED) & set(ENDED)
