"""Resolves model references to versions, and provides the versions' records, assets and load messages.

A resolved reference is cached for less than half a second, so every process notices within one second when an alias is
moved. If the database does not respond, the last result is used for up to five minutes.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from app.checkpoint import directory as checkpoint
from app.checkpoint.calibration import Calibration
from app.checkpoint.directory import FileEntry
from app.db.database import DatabaseUnavailable
from app.errors import NotFound, Unavailable
from app.inference.shared_tasks import SharedTasks, StillRunning
from app.registry.records import Abstention
from app.telemetry import stale_answers
from app.tokenization import isolated
from app.tokenization.children import Children
from app.tokenization.tokenizer import Tokenizer
from app.wire import engine as wire
from models.config import ModelConfig

log = logging.getLogger(__name__)
LoadProbes = Callable[[str, str], bytes]  # (digest, owner) -> encoded probes
TTL = 0.4  # seconds for which a resolved reference is cached
STALE_SECONDS = 300.0  # how long an earlier result may be used while the database does not respond
ANSWER_SECONDS = 0.5  # how long a request waits for the database if there is an earlier result
REFERENCES, ASSETS = 4096, 64  # the maximum number of entries in each cache
ASSETS_BYTES = 512 * 2**20  # the maximum estimated memory of all assets together, unless a single version needs more
MEMORY_PER_BYTE = 20  # bytes of memory for each byte of the files in READ; docs/log.md has the measurements
READ = ("config.json", "labels.json", "tokenizer.json", "calibration.json")
WEIGHTS = "model.safetensors"


class VersionRecord(Protocol):
    """The fields of `app.registry.records.Version` that inference reads."""

    @property
    def ref(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def version(self) -> int: ...
    @property
    def owner(self) -> str: ...
    @property
    def aliases(self) -> tuple[str, ...]: ...
    @property
    def digest(self) -> str: ...
    @property
    def files(self) -> Mapping[str, FileEntry]: ...
    @property
    def abstention(self) -> Abstention: ...


class Cache(Protocol):
    """The local cache of checkpoint files."""

    def checkpoint(self, digest_: str, files: Mapping[str, FileEntry]) -> Path: ...


@dataclass(frozen=True, slots=True)
class Assets:
    """The parts of a version that the API process needs: everything except the weights.

    All parts depend only on the digest.
    """

    config: ModelConfig
    raw_config: dict[str, Any]
    labels: tuple[str, ...]
    tokenizer: Tokenizer | None
    calibration: Calibration | None = None
    memory: int = 0  # an estimate, in bytes


@dataclass(frozen=True)
class ResolvedVersion:
    """The version that a request uses from start to end.

    `wait_until` is the monotonic time until which the request waits for the version to be loaded.
    """

    record: VersionRecord
    assets: Assets
    wait_until: float

    @cached_property
    def ref(self) -> str:
        return self.record.ref

    @property
    def digest(self) -> str:
        return self.record.digest

    @property
    def config(self) -> ModelConfig:
        return self.assets.config

    @property
    def labels(self) -> tuple[str, ...]:
        return self.assets.labels

    @property
    def tokenizer(self) -> Tokenizer | None:
        return self.assets.tokenizer

    @property
    def threshold(self) -> float:
        """The minimum probability of a label in a multilabel version's answer."""
        return float(self.assets.raw_config.get("threshold", 0.5))


@dataclass(slots=True)
class _Answer:
    """The version to which a reference resolved.

    `queried_at` is the monotonic time of the query. Until `fresh_until`, the answer is used without a new query.
    """

    record: VersionRecord
    queried_at: float
    fresh_until: float


class Versions:
    """Resolves references with the registry's `resolve(reference, principal)`, and reads versions' files.

    `probes(digest, owner)` returns the encoded probes of a version, or empty bytes if the version has none.

    Queries and file operations run in threads, because they block. Files have their own threads, because fetching them
    can take minutes. A request waits at most `patience` seconds for the files.
    """

    def __init__(
        self,
        resolve: Callable[[str, str], VersionRecord],
        cache: Cache,
        patience: float,
        ttl: float = TTL,
        probes: LoadProbes | None = None,
    ) -> None:
        self._resolve, self._cache, self._patience, self._ttl = resolve, cache, patience, ttl
        self._probes = probes
        self._registry = ThreadPoolExecutor(4, "registry")
        self._files = ThreadPoolExecutor(8, "files")
        self._children = Children()
        self._records: OrderedDict[tuple[str, str], _Answer] = OrderedDict()
        self._assets: OrderedDict[str, Assets] = OrderedDict()
        self._lookups: SharedTasks[tuple[str, str], VersionRecord] = SharedTasks()
        self._reads: SharedTasks[str, Assets] = SharedTasks()

    def close(self) -> None:
        for executor in (self._registry, self._files):
            executor.shutdown(wait=False, cancel_futures=True)
        self._children.close()

    @property
    def digests(self) -> set[str]:
        """The digests of the versions whose assets are in memory."""
        return set(self._assets)

    @property
    def owners(self) -> dict[str, str]:
        """The references of recently requested versions, mapped to the versions' owners."""
        return {answer.record.ref: answer.record.owner for answer in self._records.values()}

    @property
    def memory(self) -> int:
        """The estimated memory of the assets, in bytes."""
        return sum(assets.memory for assets in self._assets.values())

    def forget(self, digests: Collection[str]) -> None:
        """Drop the assets of deleted versions."""
        for digest in digests:
            self._assets.pop(digest, None)

    async def find(self, reference: str, principal: str) -> VersionRecord:
        """Resolve a reference to a version.

        If the database does not respond, the last result for this reference is returned. Raises NotFound if no version
        is visible to the principal.
        """
        key = (reference, principal)
        entry, now = self._records.get(key), time.monotonic()
        if entry is None or entry.queried_at + STALE_SECONDS < now:
            return await self._lookups.run(key, lambda: self._look_up(key))
        if entry.fresh_until > now:
            return entry.record
        try:
            return await self._lookups.run(key, lambda: self._look_up(key), ANSWER_SECONDS)
        except (StillRunning, DatabaseUnavailable):
            stale_answers.inc()
            entry.fresh_until = time.monotonic() + self._ttl  # so that the following requests do not wait
            return entry.record

    async def get(self, reference: str, principal: str) -> ResolvedVersion:
        """Return the version with its assets. Raises NotFound, or Unavailable (`loading`) if fetching is too slow."""
        wait_until = time.monotonic() + self._patience
        record = await self.find(reference, principal)
        assets = self._assets.get(record.digest)
        if assets is None:
            assets = await self._read_in_time(record, wait_until)
        else:
            self._assets.move_to_end(record.digest)
        return ResolvedVersion(record, assets, wait_until)

    async def load_message(self, version: ResolvedVersion) -> wire.Load:
        """Return the message that tells an engine to load the version. Fetches the version's files first."""
        record = version.record
        loop = asyncio.get_running_loop()
        directory = await loop.run_in_executor(self._files, self._cache.checkpoint, record.digest, record.files)
        files = {path: entry.sha256 for path, entry in record.files.items()}
        weights = record.files.get(WEIGHTS)
        nbytes = weights.size if weights else 0
        probes = await loop.run_in_executor(self._files, self._load_probes, record)
        return wire.Load(record.digest, str(directory), files, record.ref, nbytes, bool(record.aliases), probes)

    def _load_probes(self, record: VersionRecord) -> bytes | None:
        """Return the probes, or None if they cannot be read. Versions can be loaded without probes."""
        try:
            return b"" if self._probes is None else self._probes(record.digest, record.owner)
        except Exception as error:
            log.warning("the probes of %s could not be read: %s", record.ref, error)
            return None

    async def _look_up(self, key: tuple[str, str]) -> VersionRecord:
        queried_at = time.monotonic()  # before the query, because the answer may be outdated when it arrives
        try:
            record = await asyncio.get_running_loop().run_in_executor(self._registry, self._resolve, *key)
        except NotFound:
            self._records.pop(key, None)
            raise
        self._records[key] = _Answer(record, queried_at, queried_at + self._ttl)
        self._records.move_to_end(key)
        # The oldest answers come first.
        while self._records and (len(self._records) > REFERENCES or self._oldest() + STALE_SECONDS < queried_at):
            self._records.popitem(last=False)
        return record

    def _oldest(self) -> float:
        return next(iter(self._records.values())).queried_at

    async def _read_in_time(self, record: VersionRecord, until: float) -> Assets:
        try:
            left = max(0.0, until - time.monotonic())
            return await self._reads.run(record.digest, lambda: self._read(record), left)
        except StillRunning:
            raise still_loading() from None

    async def _read(self, record: VersionRecord) -> Assets:
        assets = await asyncio.get_running_loop().run_in_executor(self._files, self._open, record)
        self._assets[record.digest] = assets
        while len(self._assets) > ASSETS or (len(self._assets) > 1 and self.memory > ASSETS_BYTES):
            self._assets.popitem(last=False)
        return assets

    def _open(self, record: VersionRecord) -> Assets:
        directory = self._cache.checkpoint(record.digest, record.files)
        contents = checkpoint.read(directory)
        tokenizer = isolated.load(directory, self._children) if contents.config.input == "tokens" else None
        labels = tuple(contents.labels)
        memory = MEMORY_PER_BYTE * sum(entry.size for path, entry in record.files.items() if path in READ)
        return Assets(contents.config, contents.raw_config, labels, tokenizer, contents.calibration, memory)


def still_loading() -> Unavailable:
    """The error for a request whose version was not loaded in time."""
    return Unavailable("the version is still being loaded; try again", code="loading", retry_after=5.0)
