"""Finding versions by what they are and how well they did, and laying their figures side by side.

Knows the shape of `metrics` (nested dicts of figures); the figures are compared here and not in SQL, which spells
JSON differently in each database.
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
LOWER_IS_BETTER = ("loss", "perplexity", "bits_per_character", "mse", "mae")
HIGHER_IS_BETTER = ("accuracy", "precision", "recall", "f1", "micro_f1", "macro_f1", "r2")


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which versions, in which order. `query` is a part of model names; `metric` a path such as `test.macro_f1`.

    With a `metric`, versions without that figure are left out and the order is by it; else by age. `order` None:
    the best or the newest first.
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
                raise InvalidRequest(f"{name} {show(getattr(self, name))} is not a word of a-z 0-9 . _ -", param=name)
        if self.metric is not None and not METRIC.fullmatch(self.metric):
            raise InvalidRequest(f"metric {show(self.metric)} is no path such as test.accuracy", param="metric")
        if self.metric is None and (self.minimum is not None or self.maximum is not None):
            raise InvalidRequest("minimum and maximum need a metric", param="metric")

    @property
    def descending(self) -> bool:
        if self.order is not None:
            return self.order == "desc"
        return self.metric is None or not lower_is_better(self.metric)


@dataclass(frozen=True, slots=True)
class Comparison:
    """`figures`: path -> one value a version, None where it has none; `best`: path -> index of the best version, for
    figures of which more or less is better and that two versions or more have."""

    versions: list[Version]
    figures: dict[str, list[float | None]]
    best: dict[str, int]


class _Place(NamedTuple):
    """Where a version stands: by its age or its figure, then by its name."""

    rank: float
    model: str
    version: int

    @property
    def ref(self) -> str:
        return f"{self.model}:{self.version}"


def lower_is_better(metric: str) -> bool:
    return metric.rpartition(".")[2] in LOWER_IS_BETTER


def figure(metrics: dict[str, Any], path: str) -> float | None:
    """The number at a dotted path, if there is one."""
    value: Any = metrics
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def select_versions(session: Session, principal: str, filter_: Filter, after: str | None, limit: int) -> Page[Version]:
    """Matching versions after the one whose `ref` is `after`. Of what is not on the page only its place is read."""
    found = sorted(_places(session, principal, filter_), reverse=filter_.descending)
    start = 0
    if after is not None:
        behind = [i for i, place in enumerate(found, start=1) if place.ref == after]
        if not behind:
            message = f"after {show(after)} is not among the versions found"
            raise NotFound(message, code="version_not_found", param="after")
        start = behind[0]
    page = cut(found[start : start + limit + 1], limit)
    keys = [(place.model, place.version) for place in page.items]
    query = select(VersionRow).where(tuple_(VersionRow.model, VersionRow.version).in_(keys))
    versions = {version.ref: version for version in repository.records(session, query)}
    return Page([versions[place.ref] for place in page.items], page.has_more)


def compare(versions: Sequence[Version]) -> Comparison:
    flat = [dict(_leaves(version.metrics)) for version in versions]
    paths = sorted({path for figures in flat for path in figures})
    figures = {path: [found.get(path) for found in flat] for path in paths}
    best = {path: _best(path, row) for path, row in figures.items() if _can_be_best(path, row)}
    return Comparison(list(versions), figures, best)


def _can_be_best(path: str, row: Sequence[float | None]) -> bool:
    known = path.rpartition(".")[2] in (*LOWER_IS_BETTER, *HIGHER_IS_BETTER)
    return known and sum(value is not None for value in row) > 1


def _best(path: str, row: Sequence[float | None]) -> int:
    sign = 1.0 if lower_is_better(path) else -1.0
    return min((sign * value, index) for index, value in enumerate(row) if value is not None)[1]


def _leaves(metrics: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    for key, value in metrics.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{prefix}{key}", float(value)


def _places(session: Session, principal: str, filter_: Filter) -> Iterator[_Place]:
    by = VersionRow.created_at if filter_.metric is None else VersionRow.metrics
    query = select(VersionRow.model, VersionRow.version, by).join(ModelRow, ModelRow.name == VersionRow.model)
    # a version's metrics may be large: few of them at a time
    for model, version, value in session.execute(_narrowed(query, principal, filter_).execution_options(yield_per=20)):
        rank = value if filter_.metric is None else figure(value, filter_.metric)
        if rank is not None and _within(rank, filter_):
            yield _Place(float(rank), model, version)


def _narrowed(query: Select[Any], principal: str, filter_: Filter) -> Select[Any]:
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
    above = filter_.minimum is None or value >= filter_.minimum
    return above and (filter_.maximum is None or value <= filter_.maximum)
