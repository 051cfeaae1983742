"""Loads and unloads versions within the memory limit."""

from __future__ import annotations

import ctypes
import gc
import logging
from collections.abc import Callable
from pathlib import Path

import torch
from msgspec.structs import replace

from app.checkpoint.adapter import ADAPTER
from app.checkpoint.directory import WEIGHTS
from app.engine.loader import LoadedNetwork
from app.engine.loader_thread import Loader, LoadOutcome
from app.engine.memory import SEPARATE, Base, Memory
from app.engine.reply import Counters, Reply, describe
from app.engine.version import LoadedVersion
from app.errors import OstinatoError, Unavailable
from app.wire import engine as wire

logger = logging.getLogger(__name__)


class Loading:
    """The loaded `versions` by digest, and the versions that are being loaded or waiting to be unloaded.

    `assemble` creates a LoadedVersion from a loaded network and, if the version was loaded before, its counters.
    `retire` is called for each unloaded version and must drop all references to it, because otherwise its memory is not
    freed.
    """

    def __init__(
        self, loader: Loader, memory: Memory, assemble: Callable[[LoadedNetwork, Counters | None], LoadedVersion],
        retire: Callable[[LoadedVersion], None], reply: Reply, counters: Counters,
    ) -> None:  # fmt: skip
        self.loader, self.memory, self.reply, self.counters = loader, memory, reply, counters
        self.versions: dict[str, LoadedVersion] = {}
        self._assemble, self._retire = assemble, retire
        self._askers: dict[str, list[bytes]] = {}  # digest being loaded -> peers that wait for the answer
        self._leaving: set[str] = set()  # the digests of the versions that are unloaded as soon as they are idle
        self._replaced: list[LoadedVersion] = []  # they only finish requests; new ones use a shared network

    def load(self, peer: bytes, message: wire.Load) -> None:
        """Load a version in another thread. Replies immediately if it is already loaded or does not fit in memory."""
        if message.digest in self.versions:
            self.reply(peer, wire.Loaded(message.digest, 0.0))
        elif message.digest in self._askers:
            self._askers[message.digest].append(peer)
        else:
            try:
                self._reserve(message, *self._expected(message))
            except OstinatoError as error:
                logger.warning("%s: %s (%s)", message.name, error.message, ", ".join(self.memory.names))
                self.reply(peer, wire.LoadFailed(message.digest, error.code, error.message))
                return
            self._askers[message.digest] = [peer]
            self.loader.submit(message)

    def _reserve(self, message: wire.Load, nbytes: int | None = None, base: Base = SEPARATE) -> None:
        for digest in self.memory.reserve(message, self._idle, nbytes, base):
            self._unload(digest)

    def _expected(self, message: wire.Load) -> tuple[int | None, Base]:
        """The expected size of a version and, if it can probably share the base of other versions, this base."""
        weights, adapter = message.files.get(WEIGHTS), Path(message.directory) / ADAPTER
        for base in (version.loaded.shared for version in self.versions.values()):
            if base and base.key.weights == weights and (ADAPTER not in message.files or adapter.is_file()):
                return adapter.stat().st_size if ADAPTER in message.files else 0, (base.key, base.nbytes)
        return None, SEPARATE

    def _adjust(self, network: LoadedNetwork, message: wire.Load) -> None:
        """Reserve the actual size of a version that does not share a base as expected. Raises Unavailable."""
        if self.memory.base_of(message.digest) not in (SEPARATE, _base(network)):
            self.memory.release(message.digest)
            self._reserve(message, network.nbytes, _base(network))

    def collect(self) -> None:
        """Start serving the versions that have been loaded, and reply to the peers that requested the loads."""
        for outcome in self.loader.collect():
            peers = self._askers.pop(outcome.message.digest, [])
            answer = self._conclude(outcome)
            for peer in peers:
                self.reply(peer, answer)
        self.unload_idle()  # an Unload message may have arrived while the version was loading

    def _conclude(self, outcome: LoadOutcome) -> wire.Loaded | wire.LoadFailed:
        result, digest = outcome.result, outcome.message.digest
        if isinstance(result, LoadedNetwork):
            try:
                self._adjust(result, outcome.message)
            except Unavailable as error:
                result = error
        if isinstance(result, LoadedNetwork):
            try:
                self._start(result)
            except Exception as error:
                logger.exception("%s cannot be served", outcome.message.name)
                self.memory.release(digest)
                return wire.LoadFailed(digest, *describe(error))
            for network in outcome.replaced:
                self._replace(network)
            self.counters.add("loads")
            self.counters.add("load_seconds", outcome.seconds)
            logger.info("loaded %s in %.2f s", outcome.message.name, outcome.seconds)
            return wire.Loaded(digest, outcome.seconds)
        assert isinstance(result, OstinatoError)
        self.memory.release(digest)
        self.counters.add("load_failures")
        logger.warning("%s could not be loaded: %s", outcome.message.name, result.message)
        return wire.LoadFailed(digest, result.code, result.message)

    def _start(self, network: LoadedNetwork, work: Counters | None = None) -> None:
        self.versions[network.digest] = self._assemble(network, work)
        self.memory.loaded(network.digest, network.nbytes, _base(network))

    def _replace(self, network: LoadedNetwork) -> None:
        """Use another network for new requests to a loaded version. Its open requests are finished with the old one."""
        earlier = self.versions.get(network.digest)
        if earlier is None:  # it has been unloaded
            return
        try:
            self._start(network, earlier.counters)
        except Exception:
            logger.exception("the network of %s cannot be replaced", network.name)
        else:
            self._replaced.append(earlier)
            self.memory.keep(_key(earlier), earlier.loaded.name, earlier.loaded.nbytes)

    def statuses(self) -> list[wire.VersionStatus]:
        """The status of each loaded version, including its replaced network. Safe to call from another thread."""
        statuses = {digest: version.status() for digest, version in list(self.versions.items())}
        for earlier in list(self._replaced):
            status, digest = earlier.status(), earlier.loaded.digest
            if new := statuses.get(digest):
                totals = {name: getattr(new, name) + getattr(status, name) for name in ("bytes", "running", "waiting")}
                statuses[digest] = replace(new, **totals)
        return list(statuses.values())

    def unload(self, digest: str) -> None:
        """Unload a version as soon as it is idle or, if it is still loading, as soon as it has been loaded."""
        self._leaving.add(digest)
        self.unload_idle()

    def unload_idle(self) -> None:
        """Unload the idle versions for which an Unload message has arrived, and the replaced networks."""
        if done := [version for version in self._replaced if not version.busy]:
            self._replaced = [version for version in self._replaced if version not in done]
            for version in done:
                self._retire(version)
                self.memory.release(_key(version))
            del version, done  # drop the last references
            _release_memory()
        if not self._leaving:
            return
        for digest in [d for d in self._leaving if d not in self._askers and (d not in self.versions or self._idle(d))]:
            self._leaving.discard(digest)
            self._unload(digest)

    def _idle(self, digest: str) -> bool:
        return digest in self.versions and not self.versions[digest].busy

    def _unload(self, digest: str) -> None:
        version = self.versions.pop(digest, None)
        if version is None:
            return
        self._retire(version)
        self.memory.release(digest)
        self.counters.add("unloads")
        logger.info("unloaded %s", version.loaded.name)
        del version  # drop the last reference, so that the garbage collection below frees the weights
        _release_memory()


def _key(replaced: LoadedVersion) -> str:
    return f"{replaced.loaded.digest} replaced {id(replaced)}"


def _base(network: LoadedNetwork) -> Base:
    base = network.shared
    return (base.key, base.nbytes) if base else SEPARATE


def _release_memory() -> None:
    """Return freed memory to the device and to the operating system."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    trim()


def trim() -> None:
    """Return freed memory to the operating system. Takes milliseconds, so it is not called after every batch."""
    try:
        ctypes.CDLL(None).malloc_trim(0)  # otherwise, glibc keeps freed memory for later allocations
    except (OSError, AttributeError):
        logger.debug("this C library has no malloc_trim")
