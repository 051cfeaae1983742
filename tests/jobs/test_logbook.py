"""The checkpoints of a job, the cost of deleting them, and the choice of events for the plot of a long job."""

from __future__ import annotations

from sqlalchemy import delete, select

from app.db.database import Database
from app.db.tables import JobCheckpointRow, JobRow
from app.jobs import logbook
from app.jobs.records import METRICS, NewEvent
from app.jobs.repository import JobRepository

STEPS_PER_CALL = 100  # SQLite calls a progress handler after every 100 instructions


def fill(database: Database, job_id: str, count: int) -> None:
    """Create a job with `count` old checkpoints."""
    with database.transaction() as session:
        if session.get(JobRow, job_id) is None:
            JobRepository(database).insert(
                session, id=job_id, owner="alice", body_sha256="0" * 64, request={}, model="lstm",
                training_file="file-1", seed=1, publish_name="x",
            )  # fmt: skip
        session.execute(delete(JobCheckpointRow).where(JobCheckpointRow.job_id == job_id))
        session.add_all(
            JobCheckpointRow(
                id=f"ftckpt-{job_id}-{step}", job_id=job_id, owner="alice", step=step, digest="0" * 64, files={},
                config={}, metrics={}, created_at=1.0,
            )
            for step in range(count)
        )  # fmt: skip


def test_the_latest_checkpoints_of_each_job_are_kept(database: Database) -> None:
    fill(database, "ftjob-1", 5)
    fill(database, "ftjob-2", 2)
    with database.transaction() as session:
        assert logbook.forget_checkpoints(session, keep=3, before=0.5) == 0
        assert logbook.forget_checkpoints(session, keep=3, before=1.0) == 2
        rows = session.execute(select(JobCheckpointRow.job_id, JobCheckpointRow.step))
        assert sorted(map(tuple, rows)) == [("ftjob-1", step) for step in (2, 3, 4)] + [("ftjob-2", 0), ("ftjob-2", 1)]


def test_a_plot_needs_only_some_of_the_metrics(database: Database) -> None:
    fill(database, "ftjob-1", 0)
    fill(database, "ftjob-2", 0)
    with database.transaction() as session:
        for step in range(1, 1201):  # the logs of two jobs, line by line
            for job in ("ftjob-1", "ftjob-2"):
                data = {"train_loss": 1 / step} | ({"valid_loss": 2 / step} if step % 100 == 0 else {})
                events = [NewEvent(kind="metrics", step=step, type=METRICS, message=f"Step {step}", data=data)]
                if step % 400 == 0:
                    events.append(NewEvent(kind="checkpoint", step=step, message="Checkpoint"))
                logbook.append(session, job, events, 1.0)
    with database.read() as session:
        events = logbook.thinned_events(session, "ftjob-1", 0, 50)
        steps = [event.step for event in events if event.type == METRICS and "valid_loss" not in event.data]
        assert [event.step for event in events if "valid_loss" in event.data] == [*range(100, 1300, 100)]
        assert [event.step for event in events if event.kind == "checkpoint"] == [400, 800, 1200]
        assert len(steps) == 50 and steps == sorted(steps) and steps[-1] == 1199
        assert max(b - a for a, b in zip([0, *steps], steps, strict=False)) <= 26
        assert {event.job_id for event in events} == {"ftjob-1"}
        position = logbook.event_position(session, "ftjob-1", events[-2].id)
        assert logbook.thinned_events(session, "ftjob-1", position or 0, 50) == events[-1:]
        assert len(logbook.thinned_events(session, "ftjob-1", 0, 5000)) == 1 + 1200 + 3


def test_forgetting_takes_work_in_proportion_to_the_checkpoints(sqlite_url: str) -> None:
    """Four times as many checkpoints need about four times as many instructions of SQLite."""
    database = Database(sqlite_url)

    def work(count: int) -> int:
        fill(database, "ftjob-1", count)
        calls = []
        with database.transaction() as session:
            driver = session.connection().connection.dbapi_connection
            assert driver is not None
            driver.set_progress_handler(lambda: calls.append(1), STEPS_PER_CALL)
            assert logbook.forget_checkpoints(session, keep=3, before=1.0) == count - 3
            session.flush()
            driver.set_progress_handler(None, 0)
        return len(calls)

    few, many = work(250), work(1000)
    database.close()
    assert many < 8 * few, f"{few} for 250 checkpoints, {many} for 1000"
