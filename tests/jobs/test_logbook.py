"""The checkpoints of a job, and the cost of deleting them."""

from __future__ import annotations

from sqlalchemy import delete, select

from app.db.database import Database
from app.db.tables import JobCheckpointRow, JobRow
from app.jobs import logbook
from app.jobs.repository import JobRepository

STEPS_PER_CALL = 100  # SQLite's virtual machine reports in units of so many instructions


def fill(database: Database, job_id: str, count: int) -> None:
    """Make a job with `count` old checkpoints."""
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
