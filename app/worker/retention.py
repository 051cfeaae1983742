"""Deletes the rows of expired files and uploads, of old webhook deliveries, and of all but each job's best checkpoints.

Also deletes partial files from uploads that were interrupted when a program was killed. Each worker does this between
jobs. Workers do not need to coordinate, because repeated deletion has no effect. Garbage collection (`ostinato registry
gc`) removes blobs that are no longer referenced.
"""

from __future__ import annotations

import logging
import time

from app.jobs import logbook
from app.registry.garbage import LEFTOVER_SECONDS
from app.webhooks import deliveries
from app.worker.resources import Resources

log = logging.getLogger(__name__)
EVERY_SECONDS = 3600.0


class Retention:
    """Deletes expired rows. Each worker has one instance. Not thread-safe."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._due = time.monotonic()

    def run_if_due(self) -> None:
        """Call `run`, unless it succeeded within the last hour. Raises DatabaseUnavailable."""
        if time.monotonic() < self._due:
            return
        self.run()
        self._due = time.monotonic() + EVERY_SECONDS

    def run(self) -> None:
        """Delete all expired rows and the files of interrupted uploads. Raises DatabaseUnavailable."""
        self._resources.blobs.sweep(LEFTOVER_SECONDS)
        files = self._resources.files.delete_expired()
        checkpoints = self._forget_checkpoints()
        self._forget_deliveries()
        if files or checkpoints:
            log.info("deleted %d expired files and uploads, and %d checkpoints of jobs", files, checkpoints)

    def _forget_checkpoints(self) -> int:
        settings, database = self._resources.settings, self._resources.database
        with database.transaction() as session:
            before = database.now(session) - settings.delete_grace_seconds
            return logbook.forget_checkpoints(session, settings.keep_checkpoints, before)

    def _forget_deliveries(self) -> None:
        database = self._resources.database
        with database.transaction() as session:
            deliveries.forget(session, database.now(session) - deliveries.KEEP_SECONDS)
