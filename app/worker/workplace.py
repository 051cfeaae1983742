"""What a worker works with, in one place: made once a process from the settings."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from app.db.database import Database
from app.files.service import Files
from app.jobs.repository import JobRepository
from app.registry.service import Registry
from app.settings import Settings
from app.storage.blobs import BlobStore
from app.storage.local_cache import LocalCache

TRAINER = (sys.executable, "-m", "app.training")
FIRST_DELAY, LONGEST_DELAY = 0.5, 60.0  # seconds


@dataclass(frozen=True)
class Workplace:
    """`trainer` is the command that trains, to which the run directory and the options are added; `env` is for it."""

    settings: Settings
    database: Database
    blobs: BlobStore
    cache: LocalCache
    registry: Registry
    files: Files
    jobs: JobRepository
    trainer: Sequence[str] = TRAINER
    env: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, settings: Settings, env: Mapping[str, str], trainer: Sequence[str] = TRAINER) -> Self:
        database, blobs = Database(settings.database), BlobStore(settings.storage)
        return cls(
            settings=settings,
            database=database,
            blobs=blobs,
            cache=LocalCache(settings.data / "cache", blobs, settings.cache_bytes),
            registry=Registry(database, blobs, grace_seconds=settings.delete_grace_seconds),
            files=Files(database, blobs),
            jobs=JobRepository(database),
            trainer=(*trainer, *_options(settings)),
            env=env,
        )

    @property
    def runs(self) -> Path:
        return self.settings.data / "runs"

    @property
    def trainers(self) -> Path:
        return self.settings.run_dir / "trainers"


def _options(settings: Settings) -> tuple[str, ...]:
    """What the settings say of every training on this machine."""
    every = f"{settings.resume_every_seconds:g}"
    said = "--log-format", settings.log_format, "--log-level", settings.log_level
    return "--resume-every", every, "--threads", str(settings.threads), "--device", settings.device, *said


def delay(losses: int) -> float:
    """Seconds to wait before a job is tried again that has been lost so often."""
    return min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** min(losses, 16))
