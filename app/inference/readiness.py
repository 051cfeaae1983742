"""Whether this process can answer: the database, an engine, and every version that must be there.

Knows what to look at and how to warm a version up; knows no HTTP. It looks twice a second, so the answer is at hand.
Engines hear from here which versions must stay loaded, and which are registered no more.
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
from app.inference.inputs import Item, Steps
from app.inference.service import Ask, GenerateAsk, Inference
from app.inference.versions import ResolvedVersion, VersionRecord
from app.registry.records import LOCAL, Alias
from app.wire import engine as wire

OTHERS = "other required versions"  # the check of those that whoever asks may not know of
PERIOD = 0.5
STALE = 2.0  # seconds after which a database that has not answered counts as away
LONGEST_REST = 60.0  # seconds before a version is tried again at whose trials engines died

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Report:
    """`checks`: what was looked at -> `ok`, or what is the matter."""

    ready: bool
    checks: dict[str, str]


class Catalogue(Protocol):
    """What this package asks the registry beside the meaning of references."""

    def required_aliases(self) -> Sequence[Alias]: ...
    def registered(self, digests: Collection[str]) -> Collection[str]: ...


class Readiness:
    def __init__(self, ping: Callable[[], None], catalogue: Catalogue, inference: Inference) -> None:
        self._ping, self._catalogue, self._inference = ping, catalogue, inference
        self._executor = ThreadPoolExecutor(1, "readiness")
        self.looks = 0  # taken so far
        self._answered = float("-inf")  # when the database last did
        self._wanted: dict[str, tuple[str, str]] = {}  # name@alias -> (digest, owner)
        self._problems: dict[str, str] = {}  # name@alias -> why it is not warm
        self._warm: set[tuple[str, str]] = set()  # (digest, instance of the engine)
        self._rests: dict[str, tuple[float, float]] = {}  # digest -> (seconds of the last rest, its end)
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._tasks = [asyncio.get_running_loop().create_task(self._keep_looking())]

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._executor.shutdown(wait=False, cancel_futures=True)

    def report(self, principal: str = LOCAL) -> Report:
        """By name only what `principal` may know of; what others own is told in one line without names."""
        checks = {
            "database": "ok" if time.monotonic() - self._answered < STALE else "the database does not answer",
            "engine": "ok" if self._inference.pool.living else "no engine is running",
        }
        hidden = []
        for alias, (digest, owner) in self._wanted.items():
            warm = self._is_warm(digest)
            if visible(owner, principal):
                checks[alias] = "ok" if warm else self._problems.get(alias, "is being loaded")
            else:
                hidden.append(warm)
        if hidden:
            checks[OTHERS] = "ok" if all(hidden) else f"{hidden.count(False)} of {len(hidden)} are not ready"
        return Report(all(state == "ok" for state in checks.values()), checks)

    def _is_warm(self, digest: str) -> bool:
        return any((digest, c.instance) in self._warm and c.holds(digest) for c in self._inference.pool.living)

    async def _keep_looking(self) -> None:
        while True:
            began = time.monotonic()
            try:
                await self._look()
            except OstinatoError as error:
                log.warning("readiness: %s", error.message)
            except Exception:
                log.exception("readiness")
            await asyncio.sleep(max(0.05, PERIOD - (time.monotonic() - began)))

    async def _look(self) -> None:
        pool = self._inference.pool
        loaded = pool.loaded
        aliases, registered = await asyncio.get_running_loop().run_in_executor(self._executor, self._ask, loaded)
        self._answered = time.monotonic()
        self._problems = {name: why for name, why in self._problems.items() if name in self._wanted}
        wanted = {}
        for alias in aliases:
            name = f"{alias.model}@{alias.alias}"
            try:
                version = await self._inference.versions.find(f"{alias.model}:{alias.version}", LOCAL)
            except OstinatoError as error:
                wanted[name], self._problems[name] = ("", ""), error.message
                continue
            wanted[name] = version.digest, version.owner
            self._warm_up(name, version)
        self._wanted = wanted
        pool.keep(frozenset(digest for digest, _ in wanted.values() if digest))
        for digest in loaded.difference(registered):
            pool.unload(digest)
        self.looks += 1

    def _ask(self, loaded: Collection[str]) -> tuple[Sequence[Alias], Collection[str]]:
        self._ping()
        return self._catalogue.required_aliases(), self._catalogue.registered(loaded) if loaded else ()

    def _warm_up(self, name: str, version: VersionRecord) -> None:
        """Fetch, load and run it once, in a task of its own: that must not make the database look dead."""
        if self._is_warm(version.digest) or not self._inference.pool.living:
            return
        if self._rests.get(version.digest, (0.0, 0.0))[1] > time.monotonic():
            return
        if any(task.get_name() == version.digest for task in self._tasks):
            return
        self._tasks = [task for task in self._tasks if not task.done()]
        task = asyncio.get_running_loop().create_task(self._run_once(name, version), name=version.digest)
        task.add_done_callback(lambda done: self._tasks.remove(done) if done in self._tasks else None)
        self._tasks.append(task)

    async def _run_once(self, name: str, version: VersionRecord) -> None:
        digest = version.digest
        try:
            served = await self._inference.versions.get(version.ref, LOCAL)
            client = await self._inference.load(served)
            await _try_out(self._inference, served)
            living = {c.instance for c in self._inference.pool.living} | {client.instance}
            self._warm = {(d, i) for d, i in self._warm if i in living} | {(digest, client.instance)}
            self._problems.pop(name, None)
            self._rests.pop(digest, None)
        except OstinatoError as error:
            self._problems[name] = error.message
            if error.code == "engine_lost":  # no quarantine for ourselves, but no engine is to die twice a second
                rest = min(LONGEST_REST, 2 * self._rests.get(digest, (PERIOD, 0.0))[0])
                self._rests[digest] = (rest, time.monotonic() + rest)
        except Exception:
            log.exception("%s could not be warmed up", name)
            self._problems[name] = "could not be warmed up"


async def _try_out(inference: Inference, served: ResolvedVersion) -> None:
    config = served.config
    item: Item = [min(3, config.vocab_size - 1)] if config.input == "tokens" else Steps([[0.0] * config.features])
    seconds = inference.settings.load_timeout
    if config.task != "generation":
        await inference.classify(Ask(served.ref, [item], LOCAL, seconds, trusted=True))
        return
    params = wire.SamplingParams(max_tokens=1, temperature=0.0)
    generation = await inference.generate(
        GenerateAsk(served.ref, [item], LOCAL, seconds, trusted=True, params=params, seed=0, stops=Stops())
    )
    async for _ in generation.pieces():
        pass
