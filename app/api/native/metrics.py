"""The engines' figures and the aliases among the metrics, looked up when somebody asks. Knows no request."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from app.inference.engines.client import EngineClient
from app.inference.engines.pool import EnginePool
from app.registry.records import Alias
from app.telemetry import METRICS, SIZES
from app.wire.engine import VersionStatus

VERSION_FIGURES: dict[str, tuple[str, Callable[[VersionStatus], float]]] = {
    "engine_running": ("Requests being worked on in the engine", lambda v: v.running),
    "engine_waiting": ("Requests waiting in the engine", lambda v: v.waiting),
    "engine_bytes": ("Bytes of the weights", lambda v: v.bytes),
    "state_cache_slots": ("Sequences whose state there is room for", lambda v: v.slots),
    "state_cache_bytes": ("Bytes of the state of running sequences", lambda v: v.cache_used),
    "state_cache_allocated_bytes": ("Bytes allocated for states", lambda v: v.cache_bytes),
    "kv_cache_usage_perc": ("Share of the slots that are taken; 1 is all of them", lambda v: _share(v)),
}
HISTOGRAM = re.compile(r"(?P<name>[a-z0-9_]+?)_(?:le_(?P<bound>\d+)|(?P<sum>sum))")
HISTOGRAMS = {"iteration_tokens": ("iteration_tokens_total", "Tokens of one step of the engine")}
NAME = re.compile(r"[^a-z0-9_]")


def _share(version: VersionStatus) -> float:
    return version.slots_used / version.slots if version.slots else 0.0


class EngineFigures(Collector):
    def __init__(self, pool: EnginePool) -> None:
        self.pool = pool

    def collect(self) -> Iterable[Metric]:
        clients = list(self.pool.clients.values())
        up = GaugeMetricFamily("ostinato_engine_up", "1 while the engine's heartbeats come", labels=["engine"])
        for client in clients:
            up.add_metric([client.path.stem], 1.0 if client.alive else 0.0)
        yield up
        living = [client for client in clients if client.alive and client.heartbeat]
        yield from _versions(living)
        yield from _counters(living)


def _versions(clients: list[EngineClient]) -> Iterable[Metric]:
    for name, (meaning, figure) in VERSION_FIGURES.items():
        family = GaugeMetricFamily(f"ostinato_{name}", meaning, labels=["engine", "model_name"])
        for client in clients:
            for version in client.heartbeat.versions if client.heartbeat else ():
                family.add_metric([client.path.stem, version.name], figure(version))
        yield family


def _counters(clients: list[EngineClient]) -> Iterable[Metric]:
    """Whatever an engine counts, under its own names; and what it counts by size."""
    families: dict[str, CounterMetricFamily] = {}
    histograms = {
        key: HistogramMetricFamily(f"ostinato_{name}", meaning, labels=["engine"])
        for key, (name, meaning) in HISTOGRAMS.items()
    }
    for client in clients:
        sized: dict[str, dict[str, float]] = defaultdict(dict)
        for key, value in (client.heartbeat.counters if client.heartbeat else {}).items():
            found = HISTOGRAM.fullmatch(key)
            if found and found["name"] in histograms:
                sized[found["name"]][found["bound"] or "sum"] = value
                continue
            name = f"ostinato_engine_{NAME.sub('_', key.lower())}"
            family = families.setdefault(name, CounterMetricFamily(name, "Counted by the engine", labels=["engine"]))
            family.add_metric([client.path.stem], value)
        for key, values in sized.items():
            total = values.pop("sum", 0.0)
            histograms[key].add_metric([client.path.stem], _cumulated(values), total)
    return [*families.values(), *histograms.values()]


def _cumulated(counts: dict[str, float]) -> list[tuple[str, float]]:
    """Prometheus' buckets: how many were at most so large."""
    buckets, below = [], 0.0
    for bound in SIZES:
        below += counts.get(str(bound), 0.0)
        buckets.append((f"{bound}.0", below))
    return [*buckets, ("+Inf", sum(counts.values()))]


class AliasFigures(Collector):
    def __init__(self, aliases: Sequence[Alias]) -> None:
        self.aliases = aliases

    def collect(self) -> Iterable[Metric]:
        family = GaugeMetricFamily(
            "ostinato_model_version_info", "The version that an alias points at", labels=["model_name", "alias"]
        )
        for alias in self.aliases:
            family.add_metric([alias.model, alias.alias], float(alias.version))
        yield family


def exposition(pool: EnginePool, aliases: Sequence[Alias]) -> bytes:
    """Everything, in Prometheus' text format."""
    looked_up = CollectorRegistry()
    looked_up.register(EngineFigures(pool))
    looked_up.register(AliasFigures(aliases))
    return generate_latest(METRICS) + generate_latest(looked_up)
