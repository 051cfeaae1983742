"""A worker's resources: settings, database, stores, and the trainer's command and environment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from app.db.changes import Changes
from app.db.database import Database
from app.files.service import Files
from app.jobs.claims import JobClaims
from app.registry.probes import Probes
from app.registry.service import Registry
from app.runs.trainer import BATCH_PROGRAM, TRAINER, options
from app.settings import Settings
from app.storage.blobs import BlobStore
from app.storage.local_cache import LocalCache
from app.webhooks.courier import Courier
from app.webhooks.deliveries import RetryPolicy
from app.webhooks.sender import Sender
from app.worker.trainer_list import TrainerList


@dataclass(frozen=True)
class Resources:
    """A worker's resources, created once per process.

    `trainer` is the command that starts a trainer; the run directory and additional options are appended to it. `env`
    is the environment from which the trainer inherits some variables (see `trainer.environment`). `batch_program` is
    the command that starts a batch program. A batch program inherits the whole environment, because it reads the
    settings.
    """

    settings: Settings
    database: Database
    blobs: BlobStore
    cache: LocalCache
    registry: Registry
    probes: Probes
    files: Files
    jobs: JobClaims
    changes: Changes
    trainer: Sequence[str] = TRAINER
    env: Mapping[str, str] = field(default_factory=dict)
    batch_program: Sequence[str] = BATCH_PROGRAM

    @classmethod
    def of(cls, settings: Settings, env: Mapping[str, str], trainer: Sequence[str] = TRAINER) -> Self:
        """Create the resources that the settings describe. Raises SettingError."""
        database, blobs = Database(settings.database), BlobStore(settings.storage, settings.scratch_dir)
        return cls(
            settings=settings,
            database=database,
            blobs=blobs,
            cache=LocalCache(settings.data / "cache", blobs, settings.cache_bytes),
            registry=Registry(database, blobs, settings.scratch_dir, grace_seconds=settings.delete_grace_seconds),
            probes=Probes(database, blobs),
            files=Files(database, blobs),
            jobs=JobClaims(database, settings.quotas),
            changes=Changes(database),
            trainer=(*trainer, *options(settings)),
            env=env,
        )

    @property
    def runs(self) -> Path:
        """The folder that contains the run directories, one per job."""
        return self.settings.data / "runs"

    @property
    def trainers(self) -> TrainerList:
        """The trainers that run on this machine."""
        return TrainerList(self.settings.run_dir / "trainers")

    def courier(self) -> Courier:
        """Create a courier, which sends webhook events."""
        settings = self.settings
        sender = Sender(settings.networks, settings.webhook_timeout)
        policy = RetryPolicy(settings.webhook_attempts, settings.webhook_retry_seconds)
        keys = frozenset(settings.keys.values()) or None  # without keys, all objects belong to the user of this machine
        return Courier(self.database, self.changes, sender, policy, settings.webhook_timeout, keys)
