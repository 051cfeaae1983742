"""Decides whether this process can answer requests: checks the database, the engines and every required version.

The checks run twice a second, so a recent report is always available. The checks also tell the engines which versions
to keep loaded, unload deleted versions, and drop deleted versions' data from this process.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

from app.db.ownership import visible
from app.errors import OstinatoError
from app.inference.generation import Stops
from app.inference.items import Item, Steps
from app.inference.queries import GenerationQuery, InferenceQuery
from app.inference.service import Inference
from app.inference.ticks import tick
from app.inference.versions import ResolvedVersion, VersionRecord
from app.registry.records import LOCAL, Alias
from app.telemetry import model_series
from app.wire import engine as wire

OTHERS = "other required versions"  # the check that summarises the versions that the principal may not see
PERIOD = 0.5
STALE = 2.0  # seconds without an answer after which the database counts as down
LONGEST_REST = 60.0  # the maximum delay in seconds before a version whose warm-up crashed an engine is retried

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ReadinessReport:
    """`checks` maps each check's name to `ok` or to a description of the problem."""

    ready: bool
    checks: dict[str, str]


class Catalogue(Protocol):
    """The part of the registry that the checks use."""

    def required_aliases(self) -> Sequence[Alias]: ...
    def registered(self, digests: Collection[str]) -> Collection[str]: ...


class Readiness:
    """Runs the checks repeatedly between `start` and `close`."""

    def __init__(self, ping: Callable[[], None], catalogue: Catalogue, inference: Inference) -> None:
        self._ping, self._catalogue, self._inference = ping, catalogue, inference
        self._executor = ThreadPoolExecutor(1, "readiness")
        self.looks = 0  # the number of completed rounds of checks
        self._last_answer = float("-inf")  # when the database last answered
        self._required: dict[str, tuple[str, str]] = {}  # name@alias -> (digest, owner)
        self._problems: dict[str, str] = {}  # name@alias -> why the version is not warm
        self._warm: set[tuple[str, str]] = set()  # (digest, instance of the engine)
        self._rests: dict[str, tuple[float, float]] = {}  # digest -> (seconds of the last pause, its end)
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._tasks = [asyncio.get_running_loop().create_task(self._keep_looking())]

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._executor.shutdown(wait=False, cancel_futures=True)

    def report(self, principal: str = LOCAL) -> ReadinessReport:
        """The result of the latest checks. Lists the versions that `principal` may see, and counts all others."""
        checks = {
            "database": "ok" if time.monotonic() - self._last_answer < STALE else "the database is not responding",
            "engine": "ok" if self._inference.pool.living else "no engine is running",
        }
        hidden = []
        for alias, (digest, owner) in self._required.items():
            warm = self._is_warm(digest)
            if visible(owner, principal):
                checks[alias] = "ok" if warm else self._problems.get(alias, "is being loaded")
            else:
                hidden.append(warm)
        if hidden:
            checks[OTHERS] = "ok" if all(hidden) else f"{hidden.count(False)} of {len(hidden)} are not ready"
        return ReadinessReport(all(state == "ok" for state in checks.values()), checks)

    def requires(self, digest: str) -> bool:
        """Whether, as of the last check, any owner's required alias points to a version with this digest."""
        return any(digest == required for required, _ in self._required.values())

    def _is_warm(self, digest: str) -> bool:
        return any((digest, c.instance) in self._warm and c.holds(digest) for c in self._inference.pool.living)

    async def _keep_looking(self) -> None:
        while True:
            try:
                await self._look()
            except OstinatoError as error:
                log.warning("the readiness checks failed: %s", error.message)
            except Exception:
                log.exception("the readiness checks failed")
            await tick(PERIOD)

    async def _look(self) -> None:
        pool, versions = self._inference.pool, self._inference.versions
        loaded = pool.loaded
        digests = loaded.keys() | versions.digests
        aliases, registered = await asyncio.get_running_loop().run_in_executor(self._executor, self._ask, digests)
        self._last_answer = time.monotonic()
        await self._check_required(aliases)
        pool.keep(frozenset(digest for digest, _ in self._required.values() if digest))
        gone = digests.difference(registered)
        for digest in gone & loaded.keys():
            pool.unload(digest)
        versions.forget(gone)
        model_series.expire(loaded.values())
        self._forget()
        self.looks += 1

    def _ask(self, digests: Collection[str]) -> tuple[Sequence[Alias], Collection[str]]:
        self._ping()
        return self._catalogue.required_aliases(), self._catalogue.registered(digests) if digests else ()

    async def _check_required(self, aliases: Sequence[Alias]) -> None:
        """Resolve each required alias, and start to warm up its version."""
        self._problems = {name: why for name, why in self._problems.items() if name in self._required}
        required = {}
        for alias in aliases:
            name = f"{alias.model}@{alias.alias}"
            try:
                record = await self._inference.versions.find(f"{alias.model}:{alias.version}", LOCAL)
            except OstinatoError as error:
                required[name], self._problems[name] = ("", ""), error.message
                continue
            required[name] = record.digest, record.owner
            self._warm_up(name, record)
        self._required = required

    def _forget(self) -> None:
        """Drop the data about versions that are no longer loaded or no longer required."""
        clients = self._inference.pool.clients.values()
        # Silent engines are included: a version stays warm on an engine whose heartbeats are merely late.
        self._warm = {(d, i) for d, i in self._warm if any(c.instance == i and c.holds(d) for c in clients)}
        digests = {digest for digest, _ in self._required.values()}
        self._rests = {digest: rest for digest, rest in self._rests.items() if digest in digests}

    def _warm_up(self, name: str, record: VersionRecord) -> None:
        """Start a task that loads the version and runs it once.

        This can take minutes; the checks continue in the meantime.
        """
        if self._is_warm(record.digest) or not self._inference.pool.living:
            return
        if self._rests.get(record.digest, (0.0, 0.0))[1] > time.monotonic():
            return
        if any(task.get_name() == record.digest for task in self._tasks):
            return
        self._tasks = [task for task in self._tasks if not task.done()]
        task = asyncio.get_running_loop().create_task(self._run_once(name, record), name=record.digest)
        task.add_done_callback(lambda done: self._tasks.remove(done) if done in self._tasks else None)
        self._tasks.append(task)

    async def prove(self, reference: str, principal: str) -> None:
        """Load a version and run it once. Raises the same errors as a request for the version."""
        version = await self._inference.versions.get(reference, principal)
        await self._inference.load(version)
        await _try_out(self._inference, version, trusted=False)

    async def _run_once(self, name: str, record: VersionRecord) -> None:
        digest = record.digest
        try:
            version = await self._inference.versions.get(record.ref, LOCAL)
            client = await self._inference.load(version)
            await _try_out(self._inference, version)
            self._warm.add((digest, client.instance))
            self._problems.pop(name, None)
            self._rests.pop(digest, None)
        except OstinatoError as error:
            self._problems[name] = error.message
            if error.code == "engine_lost":
                # These requests are trusted, so the quarantine does not stop them from crashing an engine twice a
                # second. Instead, each crash doubles the time until the next attempt.
                rest = min(LONGEST_REST, 2 * self._rests.get(digest, (PERIOD, 0.0))[0])
                self._rests[digest] = (rest, time.monotonic() + rest)
        except Exception:
            log.exception("%s could not be warmed up", name)
            self._problems[name] = "could not be warmed up"


async def _try_out(inference: Inference, version: ResolvedVersion, *, trusted: bool = True) -> None:
    """Run the smallest possible request on the version."""
    config = version.config
    item: Item = [min(3, config.vocab_size - 1)] if config.input == "tokens" else Steps([[0.0] * config.features])
    seconds = inference.settings.load_timeout
    query = InferenceQuery(version.ref, [item], LOCAL, seconds, trusted=trusted, measured=False)
    if config.task == "embedding":
        await inference.embed(query)
        return
    if config.task != "generation":
        await inference.classify(query)
        return
    params = wire.SamplingParams(max_tokens=1, temperature=0.0)
    generation = await inference.generate(
        GenerationQuery(
            version.ref, [item], LOCAL, seconds, trusted=trusted, measured=False, params=params, seed=0, stops=Stops()
        )
    )
    async for _ in generation.pieces():
        pass
