"""Searches for versions by their properties and metrics, and compares several versions' metrics.

Metrics are compared in Python rather than SQL, because SQLite and PostgreSQL have different operators for JSON.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import Select, exists, select, tuple_
from sqlalchemy.orm import Session

from app.db.paging import Page, cut
from app.db.tables import AliasRow, ModelRow, VersionRow
from app.errors import InvalidRequest, NotFound
from app.registry import repository
from app.registry.records import LOCAL, PART, Version, show

METRIC = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*")
LOWER_IS_BETTER = ("loss", "perplexity", "bits_per_character", "mse", "mae", "ece")
HIGHER_IS_BETTER = ("accuracy", "precision", "recall", "f1", "micro_f1", "macro_f1", "r2")


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Selects versions and determines their order.

    `query` is a substring of a model's name, and `metric` is a path such as `test.macro_f1`. If `metric` is set,
    versions are ordered by this metric, and those without it are left out. Otherwise, versions are ordered by age. If
    `order` is None, the best or newest version comes first.
    """

    query: str | None = None
    model: str | None = None
    task: str | None = None
    architecture: str | None = None
    status: str = repository.READY
    alias: str | None = None
    job_id: str | None = None
    metric: str | None = None
    minimum: float | None = None
    maximum: float | None = None
    order: str | None = None

    def __post_init__(self) -> None:
        for name in ("query", "model", "task", "architecture", "status", "alias", "job_id"):
            if not PART.fullmatch((getattr(self, name) or "").lower()):
                message = f"{name} {show(getattr(self, name))} must be at most 64 characters of a-z 0-9 . _ -"
                raise InvalidRequest(message, param=name)
        if self.metric is not None and not METRIC.fullmatch(self.metric):
            raise InvalidRequest(f"metric {show(self.metric)} must be a path such as test.accuracy", param="metric")
        if self.metric is None and (self.minimum is not None or self.maximum is not None):
            raise InvalidRequest("minimum and maximum require a metric", param="metric")

    @property
    def descending(self) -> bool:
        """Whether the version with the largest metric or, without a metric, the newest version comes first."""
        if self.order is not None:
            return self.order == "desc"
        return self.metric is None or not lower_is_better(self.metric)


@dataclass(frozen=True, slots=True)
class Comparison:
    """The metrics of several versions.

    `figures` maps the path of each metric to one value per version, which is None if the version lacks the metric.
    `best` maps the path of a metric to the index of the best version. `best` includes a metric only if at least two
    versions have it and if it is known whether higher values are better. `different_rows` contains the splits whose
    metrics cannot be compared directly, because they were measured on different rows.
    """

    versions: list[Version]
    figures: dict[str, list[float | None]]
    best: dict[str, int]
    different_rows: list[str]


class _SortKey(NamedTuple):
    """A version's sort key: `rank` is its creation time or metric; ties are ordered by model and number."""

    rank: float
    model: str
    version: int

    @property
    def ref(self) -> str:
        return f"{self.model}:{self.version}"


def lower_is_better(metric: str) -> bool:
    """Whether the last part of a metric's path denotes a loss or an error."""
    return metric.rpartition(".")[2] in LOWER_IS_BETTER


def figure(metrics: dict[str, Any], path: str) -> float | None:
    """Return the number at a dotted path in nested metrics, or None if there is no number at this path."""
    value: Any = metrics
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return _to_float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _to_float(value: float) -> float | None:
    """Convert a number to a float, or to None if it is too large, as some metrics from early releases are."""
    try:
        return float(value)
    except OverflowError:
        return None


def select_versions(session: Session, principal: str, filter_: Filter, after: str | None, limit: int) -> Page[Version]:
    """Load a page of matching versions, starting after the version whose `ref` is `after`.

    Reads the sort keys of all matching versions, but complete records only for versions on the page. Raises NotFound
    (`version_not_found`) if `after` is not a matching version.
    """
    matches = sorted(_load_keys(session, principal, filter_), reverse=filter_.descending)
    start = 0
    if after is not None:
        start = next((i for i, key in enumerate(matches, start=1) if key.ref == after), 0)
        if not start:
            message = f"after must be one of the matching versions, not {show(after)}"
            raise NotFound(message, code="version_not_found", param="after")
    page = cut(matches[start : start + limit + 1], limit)
    keys = [(key.model, key.version) for key in page.items]
    query = select(VersionRow).where(tuple_(VersionRow.model, VersionRow.version).in_(keys))
    versions = {version.ref: version for version in repository.load_versions(session, query)}
    return Page([versions[key.ref] for key in page.items], page.has_more)


def compare(versions: Sequence[Version]) -> Comparison:
    """Compare the metrics of several versions, and list the splits that were measured on different rows."""
    flat = [dict(_leaves(version.metrics)) for version in versions]
    paths = sorted({path for figures in flat for path in figures})
    figures = {path: [metrics.get(path) for metrics in flat] for path in paths}
    best = {path: _best(path, row) for path, row in figures.items() if _can_be_best(path, row)}
    return Comparison(list(versions), figures, best, _on_different_rows(versions))


def _on_different_rows(versions: Sequence[Version]) -> list[str]:
    """Return the splits whose rows differ between versions. Ignores versions that have no hash of their rows."""
    digests: dict[str, set[str]] = {}
    for version in versions:
        for name, split in version.metrics.items():
            if isinstance(split, dict) and isinstance(digest := split.get("rows_sha256"), str):
                digests.setdefault(name, set()).add(digest)
    return sorted(name for name, of_split in digests.items() if len(of_split) > 1)


def _can_be_best(path: str, row: Sequence[float | None]) -> bool:
    has_direction = path.rpartition(".")[2] in (*LOWER_IS_BETTER, *HIGHER_IS_BETTER)
    return has_direction and sum(value is not None for value in row) > 1


def _best(path: str, row: Sequence[float | None]) -> int:
    sign = 1.0 if lower_is_better(path) else -1.0
    return min((sign * value, index) for index, value in enumerate(row) if value is not None)[1]


def _leaves(metrics: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, float | None]]:
    """Yield the dotted path and value of each number in nested metrics."""
    for key, value in metrics.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{prefix}{key}", _to_float(value)


def _load_keys(session: Session, principal: str, filter_: Filter) -> Iterator[_SortKey]:
    """Load the sort keys of all matching versions, in any order."""
    by = VersionRow.created_at if filter_.metric is None else VersionRow.metrics
    query = select(VersionRow.model, VersionRow.version, by).join(ModelRow, ModelRow.name == VersionRow.model)
    # Fetch only a few rows at a time: the metrics of a single version may be up to 32 MiB long.
    query = _narrow(query, principal, filter_).execution_options(yield_per=20)
    for model, version, value in session.execute(query):
        rank = value if filter_.metric is None else figure(value, filter_.metric)
        if rank is not None and _within(rank, filter_):
            yield _SortKey(float(rank), model, version)


def _narrow(query: Select[Any], principal: str, filter_: Filter) -> Select[Any]:
    if principal != LOCAL:
        query = query.where(ModelRow.owner == principal)
    for name in ("model", "task", "architecture", "status", "job_id"):
        if (value := getattr(filter_, name)) is not None:
            query = query.where(getattr(VersionRow, name) == value)
    if filter_.query:
        query = query.where(VersionRow.model.contains(filter_.query.lower(), autoescape=True))
    if filter_.alias is not None:
        here = (AliasRow.model == VersionRow.model, AliasRow.version == VersionRow.version)
        query = query.where(exists().where(*here, AliasRow.alias == filter_.alias))
    return query


def _within(value: float, filter_: Filter) -> bool:
    if filter_.metric is None:
        return True
    above_minimum = filter_.minimum is None or value >= filter_.minimum
    return above_minimum and (filter_.maximum is None or value <= filter_.maximum)
