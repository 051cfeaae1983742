"""Samples the traffic of this API process every few seconds, for the `TrafficRing` that the traffic route reads."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TypeVar

from app import telemetry as t
from app.access import INFER
from app.api.http.background import BackgroundTask
from app.api.http.scopes import needed
from app.inference.service import Inference
from app.traffic import MOST_VERSIONS, PERIOD, TrafficRing, TrafficSample, VersionTraffic

K = TypeVar("K")
NOT_MODELS = ("/v1/evaluations", "/v1/batches")  # these routes need the scope `infer` but do not run a model


class TrafficSampler:
    """Adds a sample to the ring after each period with traffic."""

    def __init__(self, inference: Inference, ring: TrafficRing, clock: Callable[[], float] = time.time) -> None:
        self._inference, self.ring, self._clock = inference, ring, clock
        self._task = BackgroundTask()
        self._before: dict[str, dict[tuple[str, ...], float]] = {}

    def start(self) -> None:
        """Start to take samples. Call this on the event loop that serves requests."""
        self._growth()  # what has been counted earlier is not part of the first sample
        self._task.start(self._repeat())

    async def close(self) -> None:
        await self._task.close()

    async def _repeat(self) -> None:
        while True:
            # The samples of all processes end together, at multiples of the period, so that they can be added up.
            await asyncio.sleep(PERIOD - self._clock() % PERIOD)
            sample = self.take()
            if not sample.empty:
                await asyncio.to_thread(self.ring.add, sample)

    def take(self) -> TrafficSample:
        """Return the traffic since the last call."""
        at = round(self._clock() / PERIOD - 1) * PERIOD
        grown = self._growth()
        if not grown:
            return TrafficSample(at)
        replies = {labels: n for labels, n in grown["replies"].items() if _runs_model(labels[0], labels[1])}
        counts = {
            "replies": sum(replies.values()),
            "errors": sum(n for (_, _, status), n in replies.items() if status.startswith("5")),
            "rejected": sum(n for (_, _, status), n in replies.items() if status == "429"),
            "read": sum(grown["read"].values()),
            "generated": sum(grown["generated"].values()),
            "running": sum(t.num_requests_running.totals().values()),
            "waiting": sum(t.num_requests_waiting.totals().values()),
        }
        rejected = {reason: int(count) for (reason,), count in grown["rejected"].items()}
        return TrafficSample(at, counts, rejected, self._versions(grown))

    def _versions(self, grown: Mapping[str, Mapping[tuple[str, ...], float]]) -> dict[str, VersionTraffic]:
        versions = self._inference.tally.take()
        owners = self._inference.versions.owners if grown["requests"] else {}
        for (ref,), requests in grown["requests"].items():
            if ref in owners:
                traffic = versions.setdefault(ref, VersionTraffic(owners[ref]))
                traffic.requests, traffic.seconds = int(requests), grown["seconds"].get((ref,), 0.0)
        busiest = sorted(versions, key=lambda ref: versions[ref].requests, reverse=True)[:MOST_VERSIONS]
        for ref in busiest:
            versions[ref].bound()
        return {ref: versions[ref] for ref in busiest}

    def _growth(self) -> dict[str, dict[tuple[str, ...], float]]:
        """Return the growth of each counter since the last call; empty if no reply, rejection or token was counted.

        If the result is empty, the metrics of the models are not read, because there may be many models.
        """
        quick = {"replies": t.http_requests, "rejected": t.rejected, "generated": t.generation_tokens}
        now = {name: counter.totals() for name, counter in quick.items()}
        if all(self._before.get(name) == values for name, values in now.items()):
            return {}
        latencies = t.e2e_request_latency.totals()
        now["read"] = t.prompt_tokens.totals()
        now["requests"] = {labels: count for labels, (count, _) in latencies.items()}
        now["seconds"] = {labels: total for labels, (_, total) in latencies.items()}
        before, self._before = self._before, now
        return {name: _grown(before.get(name, {}), values) for name, values in now.items()}


def _grown(before: Mapping[K, float], now: Mapping[K, float]) -> dict[K, float]:
    """Return the increase of each value. If a value is lower than before, its counter has restarted from zero."""
    differences = {key: value - before.get(key, 0.0) for key, value in now.items()}
    return {key: now[key] if n < 0 else n for key, n in differences.items() if n}


@lru_cache(maxsize=4096)
def _runs_model(method: str, route: str) -> bool:
    return method == "POST" and needed(method, route) == INFER and not route.startswith(NOT_MODELS)
