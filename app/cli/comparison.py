"""`ostinato models search` and `compare`: find and compare versions by their metrics."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import typer

from app.cli.output import MOST_LISTED, Json, aliases_of, connect, headline, print_json, table, when
from app.cli.shapes import used_fields
from app.errors import InvalidRequest, did_you_mean
from app.wire.measurement import shows_calibration_error, too_few
from app.wording import listed, quantity
from models.choices import ARCHITECTURES

UNLIMITED = 1_000_000  # table width in characters if the output is not a terminal
TOO_FEW = "too few rows"  # shown in place of a metric
NARROWEST = 8  # minimum width of a column, in characters
VERSIONS = "/v1/registry/versions"
COMPARED = ("task", "architecture", "parameters", "config", "digest")


def register(models: typer.Typer) -> None:
    models.command("search")(search)
    models.command("compare")(compare)


def search(
    name: Annotated[str | None, typer.Argument(help="Part of the model's name.", show_default="all models")] = None,
    task: Annotated[str | None, typer.Option(help="Only versions for this task.")] = None,
    architecture: Annotated[str | None, typer.Option(help=f"Only this architecture: {listed(ARCHITECTURES)}.")] = None,
    alias: Annotated[str | None, typer.Option(help="Only versions that an alias with this name points to.")] = None,
    job: Annotated[str | None, typer.Option(help="Only the version that this job produced.")] = None,
    metric: Annotated[
        str | None, typer.Option(help="Only versions with this metric, best first; for example test.macro_f1.")
    ] = None,
    minimum: Annotated[float | None, typer.Option(help="Minimum value of the metric.")] = None,
    maximum: Annotated[float | None, typer.Option(help="Maximum value of the metric.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=MOST_LISTED, help="Maximum number of versions to list.")] = 20,
    as_json: Json = False,
) -> None:
    """Search the versions of all models, newest first, or best first with --metric."""
    filters = {"query": name, "task": task, "architecture": architecture, "alias": alias, "job_id": job}
    bounds = {"metric": metric, "minimum": minimum, "maximum": maximum}
    if metric is None and (minimum is not None or maximum is not None):
        raise InvalidRequest("--minimum and --maximum require --metric")
    with connect() as client:
        pages = client.pages(VERSIONS, limit=min(limit, 1000), **filters, **bounds)
        versions = list(itertools.islice(pages, limit))
        measured = [] if versions or metric is None else client.get(VERSIONS, limit=1000, **filters)["data"]
    if as_json:
        print_json(versions)
        return
    versions.sort(key=lambda version: _lacks_rows(version, metric))  # versions measured on too few rows come last
    rows = [
        (v["id"], v["task"], v["architecture"], aliases_of(v), _quality(v, metric), when(v["created_at"]))
        for v in versions
    ]
    columns = ["version", "task", "architecture", "aliases", metric or "quality", "created"]
    empty = _no_match(metric, measured) if metric and not versions else "no version matches"
    table(columns, rows, empty=empty)


def _no_match(metric: str, versions: Sequence[dict[str, Any]]) -> str:
    """Return the message for a search without results. It names the metric if no version has this metric."""
    names = {name for version in versions for name in flatten(version.get("metrics") or {})}
    if metric in names or not names:
        return "no version matches"
    return f"no version has the metric {metric!r}" + did_you_mean(metric, sorted(names))


def _quality(version: dict[str, Any], metric: str | None) -> Any:
    metrics = version.get("metrics") or {}
    if metric is None:
        return headline(metrics)
    return TOO_FEW if _lacks_rows(version, metric) else _rounded(flatten(metrics).get(metric))


def _lacks_rows(version: dict[str, Any], metric: str | None) -> bool:
    """Whether a metric of a version, such as `test.accuracy`, was measured on too few rows."""
    split, _, name = (metric or "").partition(".")
    part = (version.get("metrics") or {}).get(split)
    return isinstance(part, dict) and _few(name, part.get("rows"))


def compare(
    references: Annotated[list[str], typer.Argument(help="Two or more versions: name, name:3 or name@alias.")],
    every: Annotated[
        bool, typer.Option("--all", help="Also show the metrics of individual labels and other details.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Compare versions side by side. Shows only fields that differ, and marks the best value of each metric with *."""
    if len(references) < 2:
        raise InvalidRequest("at least two versions are required")
    with connect() as client:
        comparison = client.get("/v1/registry/compare", versions=",".join(references))
    if as_json:
        print_json(comparison)
        return
    metrics = list(differing_metrics(comparison))
    shown = [row for row in metrics if every or row[0].count(".") <= 1]
    described = list(differing_fields(comparison["versions"]))
    details = [row for row in described if _is_detail(row)]
    columns, rows = ["", *references], [*(row for row in described if not _is_detail(row)), *shown, *details]
    width = shutil.get_terminal_size((UNLIMITED, 0)).columns
    table(*fitted(columns, rows, width), empty="the versions do not differ")
    for split in comparison.get("different_rows") or []:
        print(
            f"the {split} metrics were measured on different rows; `ostinato evaluate` compares versions on the same "
            "rows"
        )
    if hidden := len(metrics) - len(shown):
        print(f"not shown: {quantity(hidden, 'detail')} that {'differs' if hidden == 1 else 'differ'} (use --all)")


def _is_detail(row: Sequence[Any]) -> bool:
    """Whether a row describes the configuration or the digest. Such rows follow the metrics."""
    return str(row[0]).startswith(("config.", "digest"))


def fitted(columns: list[str], rows: list[list[Any]], width: int) -> tuple[list[str], list[list[str]]]:
    """Return `columns` and `rows` with long cells shortened, so that each line fits in `width` characters if possible.

    The first column, which contains the field names, is never shortened.
    """
    cells = [["" if cell is None else str(cell) for cell in row] for row in rows]
    names = max((len(row[0]) for row in cells), default=0)
    room = max(NARROWEST, (width - names) // (len(columns) - 1) - 2)
    cut = [[row[0], *(cell if len(cell) <= room else cell[: room - 1] + "…" for cell in row[1:])] for row in cells]
    heads = [
        name if len(name) <= room else "…" + name[1 - room :] for name in columns[1:]
    ]  # versions of one model differ only at the end of their references
    return [columns[0], *heads], cut


def differing_fields(versions: Sequence[dict[str, Any]]) -> Iterator[list[Any]]:
    """Yield one row per field that differs between the versions: its name, then its value in each version."""
    shown = [{**version, "config": used_fields(version.get("config") or {})} for version in versions]
    flattened = [flatten({name: version.get(name) for name in COMPARED}) for version in shown]
    for name in dict.fromkeys(name for shape in flattened for name in shape):
        values = [shape.get(name) for shape in flattened]
        if any(value != values[0] for value in values):
            yield [name, *map(_rounded, values)]


def differing_metrics(comparison: dict[str, Any]) -> Iterator[list[Any]]:
    """Like `differing_fields`, but for the metrics of a comparison. The best value is marked with *, unless the values
    were measured on different rows.

    Values measured on too few rows are shown as "too few rows". If any version was measured on too few rows, no best
    value is marked for the metric.
    """
    figures = comparison["figures"]
    for name, values in figures.items():
        if any(value != values[0] for value in values):
            split, _, metric = name.partition(".")
            rows = figures.get(f"{split}.rows") or [None] * len(values)
            small = [_few(metric, number) for number in rows]
            best = (
                None
                if any(small) or split in (comparison.get("different_rows") or [])
                else comparison["best"].get(name)
            )
            shown = [
                "-" if value is None else TOO_FEW if few else _rounded(value)
                for value, few in zip(values, small, strict=True)
            ]
            yield [name, *(f"{value} *" if number == best else f"{value}" for number, value in enumerate(shown))]


def _few(metric: str, rows: float | None) -> bool:
    """Whether there are too few `rows` for the metric to be meaningful. False for None."""
    if metric in ("ece", "ece_uncalibrated"):
        return not shows_calibration_error(rows)
    return metric != "rows" and too_few(rows)


def flatten(value: Any, path: str = "") -> dict[str, Any]:
    """Flatten nested dictionaries: {"a": {"b": 1}} becomes {"a.b": 1}.

    Lists of strings are joined with commas; other lists are left out.
    """
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
