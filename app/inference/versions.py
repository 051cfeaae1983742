"""The versions that this process serves: what a reference means now, and what is needed beside the weights.

Knows the registry, the local cache and tokenizers; knows no engine. What a reference means is asked again after
half a second, so that a moved alias reaches every process within one.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from app.checkpoint import directory as checkpoint
from app.checkpoint.directory import FileEntry
from app.errors import Unavailable
from app.tokenization.tokenizer import Tokenizer
from app.wire import engine as wire
from models.config import ModelConfig

TTL = 0.4
REFERENCES, ASSETS = 4096, 64
WEIGHTS = "model.safetensors"


class VersionRecord(Protocol):
    """What this package reads of `app.registry.records.Version`."""

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


class Cache(Protocol):
    def checkpoint(self, digest_: str, files: Mapping[str, FileEntry]) -> Path: ...


@dataclass(frozen=True, slots=True)
class Assets:
    """What belongs to a digest."""

    config: ModelConfig
    raw_config: dict[str, Any]
    labels: tuple[str, ...]
    tokenizer: Tokenizer | None


@dataclass(frozen=True)
class ResolvedVersion:
    """A version as one request sees it, from its start to its end. `wait_until`: how long it waits for a load."""

    version: VersionRecord
    assets: Assets
    wait_until: float

    @cached_property
    def ref(self) -> str:
        return self.version.ref

    @property
    def digest(self) -> str:
        return self.version.digest

    @property
    def config(self) -> ModelConfig:
        return self.assets.config

    @property
    def labels(self) -> tuple[str, ...]:
        return self.assets.labels

    @property
    def tokenizer(self) -> Tokenizer | None:
        return self.assets.tokenizer


class Versions:
    """`resolve(reference, principal)` is the registry's; it blocks, so it runs in threads of its own: those that fetch
    files may be at it for minutes. A request waits `patience` seconds at most for its version's files."""

    def __init__(
        self,
        resolve: Callable[[str, str], VersionRecord],
        cache: Cache,
        patience: float,
        ttl: float = TTL,
    ) -> None:
        self._resolve, self._cache, self._patience, self._ttl = resolve, cache, patience, ttl
        self._registry = ThreadPoolExecutor(4, "registry")
        self._files = ThreadPoolExecutor(8, "files")
        self._known: OrderedDict[tuple[str, str], tuple[float, VersionRecord]] = OrderedDict()
        self._asking: dict[tuple[str, str], asyncio.Task[VersionRecord]] = {}
        self._assets: OrderedDict[str, Assets] = OrderedDict()
        self._reading: dict[str, asyncio.Task[Assets]] = {}

    def close(self) -> None:
        for executor in (self._registry, self._files):
            executor.shutdown(wait=False, cancel_futures=True)

    async def find(self, reference: str, principal: str) -> VersionRecord:
        """What the reference means now. Raises NotFound for what is not there or not this principal's to see."""
        key = (reference, principal)
        known = self._known.get(key)
        if known is not None and known[0] > time.monotonic():
            return known[1]
        task = self._asking.get(key)
        if task is None:
            task = self._asking[key] = asyncio.get_running_loop().create_task(self._ask(key))
            task.add_done_callback(lambda done: (self._asking.pop(key, None), done.cancelled() or done.exception()))
        return await asyncio.shield(task)

    async def get(self, reference: str, principal: str) -> ResolvedVersion:
        """The version with what belongs to it. Raises NotFound, or Unavailable (`loading`) where files take long."""
        wait_until = time.monotonic() + self._patience
        version = await self.find(reference, principal)
        assets = self._assets.get(version.digest)
        if assets is None:
            assets = await self._read_soon(version, wait_until)
        return ResolvedVersion(version, assets, wait_until)

    async def load_message(self, served: ResolvedVersion) -> wire.Load:
        """What an engine is told to load it; its files are there when this returns."""
        version = served.version
        loop = asyncio.get_running_loop()
        directory = await loop.run_in_executor(self._files, self._cache.checkpoint, version.digest, version.files)
        files = {path: entry.sha256 for path, entry in version.files.items()}
        weights = version.files.get(WEIGHTS)
        nbytes = weights.size if weights else 0
        return wire.Load(version.digest, str(directory), files, version.ref, nbytes, bool(version.aliases))

    async def _ask(self, key: tuple[str, str]) -> VersionRecord:
        asked = time.monotonic()
        version = await asyncio.get_running_loop().run_in_executor(self._registry, self._resolve, *key)
        self._known[key] = (asked + self._ttl, version)
        self._known.move_to_end(key)
        while len(self._known) > REFERENCES:
            self._known.popitem(last=False)
        return version

    async def _read_soon(self, version: VersionRecord, until: float) -> Assets:
        """Others may wait for the same files; and whoever gives up lets them go on coming."""
        task = self._reading.get(version.digest)
        if task is None:
            task = self._reading[version.digest] = asyncio.get_running_loop().create_task(self._read(version))
            task.add_done_callback(
                lambda done: (self._reading.pop(version.digest, None), done.cancelled() or done.exception())
            )
        await asyncio.wait({task}, timeout=max(0.0, until - time.monotonic()))
        if not task.done():
            raise still_loading()
        return task.result()

    async def _read(self, version: VersionRecord) -> Assets:
        assets = await asyncio.get_running_loop().run_in_executor(self._files, self._open, version)
        self._assets[version.digest] = assets
        while len(self._assets) > ASSETS:
            self._assets.popitem(last=False)
        return assets

    def _open(self, version: VersionRecord) -> Assets:
        directory = self._cache.checkpoint(version.digest, version.files)
        said = checkpoint.read(directory)
        tokenizer = Tokenizer.load(directory) if said.config.input == "tokens" else None
        return Assets(said.config, said.raw_config, tuple(said.labels), tokenizer)


def still_loading() -> Unavailable:
    return Unavailable("the version is still being loaded; try again", code="loading", retry_after=5.0)
