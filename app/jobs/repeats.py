"""Creates only one job for a request that a client sends repeatedly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.db.database import Database
from app.errors import InvalidRequest
from app.jobs import queries
from app.jobs.records import Job

RETRY_SECONDS = 600.0  # maximum age of a job that is returned for a client's retry of the request


@dataclass(frozen=True, slots=True)
class Repeat:
    """Identifies a repeated request by its owner, body and idempotency key.

    `retry_count` is the number of retries according to the client.
    """

    owner: str
    body_sha256: str
    key: str | None = None
    retry_count: int = 0

    def find(self, session: Session, now: float) -> Job | None:
        """Return the job that this request has already created, if any.

        Raises InvalidRequest (`idempotency_key_reused`) if the key belongs to a different request.
        """
        if self.key is not None:
            job = queries.get_by_key(session, self.owner, self.key)
            if job is not None and job.body_sha256 != self.body_sha256:
                raise InvalidRequest(
                    f"this Idempotency-Key belongs to {job.id}, which was created with a different request; use a new "
                    "key",
                    code="idempotency_key_reused",
                    param="Idempotency-Key",
                )
            return job
        if self.retry_count > 0:
            return queries.newest_with_body(session, self.owner, self.body_sha256, now - RETRY_SECONDS)
        return None


def create_once(database: Database, repeat: Repeat, insert: Callable[[Session], Job]) -> Job:
    """Return the job that an earlier copy of the request created, or else the job that `insert` inserts.

    The search and the insertion happen in one transaction. Raises InvalidRequest if the key is empty or too long, or
    belongs to a different request.
    """
    if repeat.key is not None and not 1 <= len(repeat.key) <= 255:
        raise InvalidRequest("Idempotency-Key must have 1 to 255 characters", param="Idempotency-Key")

    def create() -> Job:
        with database.transaction() as session:
            earlier = repeat.find(session, database.now(session))
            return insert(session) if earlier is None else earlier

    try:
        return create()
    except IntegrityError:
        # A concurrent request with the same key was committed after this request had searched for the key. The second
        # call of `create` finds the job of the concurrent request.
        return create()
