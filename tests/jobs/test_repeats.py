"""A request that is sent several times creates only one job, even if two copies arrive at the same time."""

from __future__ import annotations

import pytest
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.jobs.records import Job
from app.jobs.repeats import Repeat, create_once
from tests.jobs.fixtures import Queue


def test_a_request_that_loses_a_race_is_repeated_once(queue: Queue) -> None:
    job = queue.create()
    failures = [IntegrityError("", None, Exception())]

    def insert(session: Session) -> Job:
        if failures:
            raise failures.pop()
        return job

    assert create_once(queue.database, Repeat("alice", "0", "k"), insert) is job
    failures += [IntegrityError("", None, Exception()) for _ in range(2)]
    with pytest.raises(IntegrityError):
        create_once(queue.database, Repeat("alice", "0", "k"), insert)
