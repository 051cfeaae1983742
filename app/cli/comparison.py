"""`ostinato models search` and `compare`: versions by their metrics."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import typer

from app.cli.output import Json, aliases_of, connect, headline, print_json, table, when
from app.errors import InvalidRequest
from app.wording import listed
from models.config import ARCHITECTURES

COMPARED = ("task", "architecture", "parameters", "config", "digest")


def register(models: typer.Typer) -> None:
    models.command("search")(search)
    models.command("compare")(compare)


def search(
    name: Annotated[str | None, typer.Argument(help="Part of the model's name.", show_default="all models")] = None,
    task: Annotated[str | None, typer.Option(help="Only versions for this task.")] = None,
    architecture: Annotated[str | None, typer.Option(help=f"Only this architecture: {listed(ARCHITECTURES)}.")] = None,
    alias: Annotated[str | None, typer.Option(help="Only versions that an alias of this name points at.")] = None,
    job: Annotated[str | None, typer.Option(help="Only the version that this job produced.")] = None,
    metric: Annotated[
        str | None, typer.Option(help="Only versions that have this metric, the best first; for example test.macro_f1.")
    ] = None,
    minimum: Annotated[float | None, typer.Option(help="Smallest value of the metric.")] = None,
    maximum: Annotated[float | None, typer.Option(help="Largest value of the metric.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of versions to list.")] = 20,
    as_json: Json = False,
) -> None:
    """Search the versions of all models, newest first, or best first with --metric."""
    filters = {"query": name, "task": task, "architecture": architecture, "alias": alias, "job_id": job}
    bounds = {"metric": metric, "minimum": minimum, "maximum": maximum}
    with connect() as client:
        pages = client.pages("/v1/registry/versions", limit=min(limit, 1000), **filters, **bounds)
        versions = list(itertools.islice(pages, limit))
    if as_json:
        print_json(versions)
        return
    rows = [
        (v["id"], v["task"], v["architecture"], aliases_of(v), _quality(v, metric), when(v["created_at"]))
        for v in versions
    ]
    columns = ["version", "task", "architecture", "aliases", metric or "quality", "created"]
    table(columns, rows, empty="no version matches")


def _quality(version: dict[str, Any], metric: str | None) -> Any:
    metrics = version.get("metrics") or {}
    return _rounded(flatten(metrics).get(metric)) if metric else headline(metrics)


def compare(
    references: Annotated[list[str], typer.Argument(help="Two or more versions: name, name:3 or name@alias.")],
    as_json: Json = False,
) -> None:
    """Compare versions side by side. Shows only what differs; * marks the best value of each metric."""
    if len(references) < 2:
        raise InvalidRequest("name at least two versions")
    with connect() as client:
        comparison = client.get("/v1/registry/compare", versions=",".join(references))
    if as_json:
        print_json(comparison)
        return
    rows = [*differing_fields(comparison["versions"]), *differing_metrics(comparison)]
    table(["", *references], rows, empty="the versions do not differ")


def differing_fields(versions: Sequence[dict[str, Any]]) -> Iterator[list[Any]]:
    """A row for each field that differs between the versions: its name, then its value in each version."""
    flattened = [flatten({name: version.get(name) for name in COMPARED}) for version in versions]
    for name in dict.fromkeys(name for shape in flattened for name in shape):
        values = [shape.get(name) for shape in flattened]
        if any(value != values[0] for value in values):
            yield [name, *map(_rounded, values)]


def differing_metrics(comparison: dict[str, Any]) -> Iterator[list[Any]]:
    """The same for the metrics of a comparison, the best value marked with *."""
    for name, values in comparison["figures"].items():
        if any(value != values[0] for value in values):
            best = comparison["best"].get(name)
            shown = ["-" if value is None else _rounded(value) for value in values]
            yield [name, *(f"{value} *" if number == best else f"{value}" for number, value in enumerate(shown))]


def flatten(value: Any, path: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} as {"a.b": 1}. Lists of strings are joined with commas; other lists are left out."""
    if isinstance(value, dict):
        flat: dict[str, Any] = {}
        for key, inner in value.items():
            flat |= flatten(inner, f"{path}.{key}" if path else str(key))
        return flat
    if isinstance(value, list):
        return {path: ", ".join(value)} if value and all(isinstance(v, str) for v in value) else {}
    return {path: value}


def _rounded(value: Any) -> Any:
    return f"{value:.4g}" if isinstance(value, float) else value
