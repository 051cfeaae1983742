"""What nobody needs any more is forgotten: files and uploads past their time, and all but a job's best checkpoints.

Each worker looks now and then, between two jobs. Forgetting twice is forgetting once, so workers need not agree whose
turn it is. Rows go here; the bytes that nothing names then are the garbage collection's (`ostinato registry gc`).
"""

from __future__ import annotations

import logging
import time

from app.jobs import logbook
from app.worker.workplace import Workplace

log = logging.getLogger(__name__)
EVERY_SECONDS = 3600.0


class Upkeep:
    """One per worker, for its loop alone."""

    def __init__(self, place: Workplace) -> None:
        self._place = place
        self._due = time.monotonic()

    def run_if_due(self) -> None:
        """Raises DatabaseUnavailable where the database is away; then it is due still."""
        if time.monotonic() < self._due:
            return
        self.run()
        self._due = time.monotonic() + EVERY_SECONDS

    def run(self) -> None:
        files = self._place.files.delete_expired()
        checkpoints = self._forget_checkpoints()
        if files or checkpoints:
            log.info("forgotten: %d expired files or uploads, %d checkpoints of trainings", files, checkpoints)

    def _forget_checkpoints(self) -> int:
        place = self._place
        with place.database.transaction() as session:
            before = place.database.now(session) - place.settings.delete_grace_seconds
            return logbook.forget_checkpoints(session, place.settings.keep_checkpoints, before)
