"""Metrics computed at each scrape: engine statistics, and the versions that aliases point to."""

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
from app.wire.engine import VersionStatus, VersionWork

VERSION_GAUGES: dict[str, tuple[str, Callable[[VersionStatus], float]]] = {
    "engine_running": ("Requests that the engine is processing", lambda v: v.running),
    "engine_waiting": ("Requests waiting in the engine", lambda v: v.waiting),
    "engine_bytes": ("Size of the version's weights in bytes", lambda v: v.bytes),
    "state_cache_slots": ("Number of sequences whose states fit into the cache", lambda v: v.slots),
    "state_cache_bytes": ("Size of the states of running sequences in bytes", lambda v: v.cache_used),
    "state_cache_allocated_bytes": ("Memory allocated for states in bytes", lambda v: v.cache_bytes),
    "prefix_cache_bytes": ("Size of the version's states in the prefix cache in bytes", lambda v: v.prefix_bytes),
    "kv_cache_usage_perc": ("Fraction of the state cache's slots in use, from 0 to 1", lambda v: _share(v)),
}
HISTOGRAM = re.compile(r"(?P<name>[a-z0-9_]+?)_(?:le_(?P<bound>\d+)|(?P<sum>sum))")
HISTOGRAMS = {"iteration_tokens": ("iteration_tokens_total", "Tokens in one step of the engine")}
VERSION_COUNTERS: dict[str, tuple[str, Callable[[VersionWork], float]]] = {
    "version_requests": ("Requests to a version that have ended", lambda w: w.requests),
    "version_prompt_tokens": ("Tokens that a version has read", lambda w: w.prompt_tokens),
    "version_generated_tokens": ("Tokens that a version has generated", lambda w: w.generated_tokens),
    "version_calls": ("Scoring batches and decode steps of a version", lambda w: w.calls),
    "version_rows": ("Sequences in the scoring batches and decode steps of a version", lambda w: w.rows),
    "version_padded_tokens": ("Tokens that a version has read, including padding", lambda w: w.padded_tokens),
}
COUNTERS: dict[str, str] = {
    "aborted": "Requests that were cancelled, or whose API process has disconnected",
    "batch_sequences": "Sequences in scoring batches",
    "batch_tokens": "Tokens in scoring batches, without padding",
    "batches": "Scoring batches that the engine has computed",
    "classified": "Requests for scores or vectors that the engine has answered",
    "decode_calls": "Decode calls, each of which computes one token per row",
    "decode_rows": "Rows in decode calls",
    "failed": "Requests that failed, with any error code",
    "generation_tokens": "Tokens that the engine has generated",
    "load_failures": "Versions that could not be loaded",
    "load_seconds": "Seconds spent on loading versions",
    "loads": "Versions that the engine has loaded",
    "malformed_messages": "Messages from API processes that could not be decoded",
    "padded_tokens": "Tokens in scoring batches, including padding",
    "prefill_padded_tokens": "Prompt tokens in the calls that read prompts, including padding",
    "prefix_cache_evictions": "States that were removed from the prefix cache to free memory",
    "prefix_cache_hits": "Prompt tokens that were found in the prefix cache",
    "prefix_cache_queries": "Prompt tokens that were looked up in the prefix cache",
    "prompt_tokens": "Tokens of prompts and inputs that the engine has read, without padding",
    "steps": "Decoder steps, which decode tokens and read prompts",
    "unloads": "Versions that the engine has unloaded",
}
COUNTERS_BY_CASE = {  # counters whose names end in a finish reason or an error code
    "finished_": "Requests that ended with the finish reason {}",
    "failed_": "Requests that failed with the error code {}",
}
UNKNOWN_COUNTER = "A counter that only engines of another release have"
NAME = re.compile(r"[^a-z0-9_]")


def _share(version: VersionStatus) -> float:
    return version.slots_used / version.slots if version.slots else 0.0


class EngineCollector(Collector):
    """Collects statistics from the engines' last heartbeats."""

    def __init__(self, pool: EnginePool) -> None:
        self.pool = pool

    def collect(self) -> Iterable[Metric]:
        clients = list(self.pool.clients.values())
        up = GaugeMetricFamily(
            "ostinato_engine_up", "1 while the engine sends heartbeats, otherwise 0", labels=["engine"]
        )
        for client in clients:
            up.add_metric([client.path.stem], 1.0 if client.alive else 0.0)
        yield up
        living = [client for client in clients if client.alive and client.heartbeat]
        yield from _versions(living)
        yield from _work(living)
        yield from _counters(living)


def _versions(clients: list[EngineClient]) -> Iterable[Metric]:
    for name, (meaning, read) in VERSION_GAUGES.items():
        family = GaugeMetricFamily(f"ostinato_{name}", meaning, labels=["engine", "model_name"])
        for client in clients:
            for version in client.heartbeat.versions if client.heartbeat else ():
                family.add_metric([client.path.stem, version.name], read(version))
        yield family


def _work(clients: list[EngineClient]) -> Iterable[Metric]:
    """Return the counters of each version, and a gauge whose labels are the version's data type and kernel."""
    labels = ["engine", "model_name"]
    families = [CounterMetricFamily(f"ostinato_engine_{n}", m, labels=labels) for n, (m, _) in VERSION_COUNTERS.items()]
    about = GaugeMetricFamily(
        "ostinato_engine_version_info", "The data type and kernel of a version", labels=[*labels, "dtype", "kernel"]
    )
    for client in clients:
        for version in client.heartbeat.versions if client.heartbeat else ():
            place = [client.path.stem, version.name]
            about.add_metric([*place, version.dtype, version.kernel], 1.0)
            for family, (_, read) in zip(families, VERSION_COUNTERS.values(), strict=True):
                family.add_metric(place, read(version.work))
    return [*families, about]


def counter_meaning(key: str) -> str:
    """Return the help text of an engine's counter."""
    for start, meaning in COUNTERS_BY_CASE.items():
        if key.startswith(start):
            return meaning.format(key.removeprefix(start))
    return COUNTERS.get(key, UNKNOWN_COUNTER)


def _counters(clients: list[EngineClient]) -> Iterable[Metric]:
    """Return the engines' counters and histograms. Engines send each histogram as a sum and one counter per bucket."""
    families: dict[str, CounterMetricFamily] = {}
    histograms = {
        key: HistogramMetricFamily(f"ostinato_{name}", meaning, labels=["engine"])
        for key, (name, meaning) in HISTOGRAMS.items()
    }
    for client in clients:
        buckets: dict[str, dict[str, float]] = defaultdict(dict)
        for key, value in (client.heartbeat.counters if client.heartbeat else {}).items():
            match = HISTOGRAM.fullmatch(key)
            if match and match["name"] in histograms:
                buckets[match["name"]][match["bound"] or "sum"] = value
                continue
            name = f"ostinato_engine_{NAME.sub('_', key.lower())}"
            family = families.setdefault(name, CounterMetricFamily(name, counter_meaning(key), labels=["engine"]))
            family.add_metric([client.path.stem], value)
        for key, values in buckets.items():
            total = values.pop("sum", 0.0)
            histograms[key].add_metric([client.path.stem], _cumulative(values), total)
    return [*families.values(), *histograms.values()]


def _cumulative(counts: dict[str, float]) -> list[tuple[str, float]]:
    """Convert per-bucket counts to the cumulative counts that Prometheus expects."""
    buckets, below = [], 0.0
    for bound in SIZES:
        below += counts.get(str(bound), 0.0)
        buckets.append((f"{bound}.0", below))
    return [*buckets, ("+Inf", sum(counts.values()))]


class AliasCollector(Collector):
    """Collects the version that each alias points to."""

    def __init__(self, aliases: Sequence[Alias]) -> None:
        self.aliases = aliases

    def collect(self) -> Iterable[Metric]:
        family = GaugeMetricFamily(
            "ostinato_model_version_info", "The version that an alias points to", labels=["model_name", "alias"]
        )
        for alias in self.aliases:
            family.add_metric([alias.model, alias.alias], float(alias.version))
        yield family


def exposition(pool: EnginePool, aliases: Sequence[Alias]) -> bytes:
    """Return all metrics in the Prometheus text format, including those computed at each scrape."""
    scraped = CollectorRegistry()
    scraped.register(EngineCollector(pool))
    scraped.register(AliasCollector(aliases))
    return generate_latest(METRICS) + generate_latest(scraped)
