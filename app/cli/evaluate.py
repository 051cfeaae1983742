"""`ostinato evaluate`: measures one version, or two, on a data file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.data import as_regular_files, check_evaluation
from app.cli.export import check_target, save
from app.cli.follow import follow, queued
from app.cli.options import collect, with_fields
from app.cli.outcome import failure
from app.cli.output import Json, connect, print_json, table, warn
from app.cli.references import look_up
from app.cli.uploads import upload_once
from app.errors import InvalidRequest
from app.jobs.limits import FILE_ID
from app.wire.measurement import shown_metric, too_few, verdict
from app.wire.training_options import Columns
from app.wording import quantity

if TYPE_CHECKING:
    from app.client import Client

MISTAKES, CONFUSIONS, LABELS = 10, 10, 30  # the maximum number of rows of each printed table
_TEXT = 80
FIGURES = (
    "accuracy", "macro_f1", "micro_f1", "loss", "perplexity", "bits_per_character", "mse", "mae", "r2",
)  # fmt: skip


def register(program: typer.Typer) -> None:
    program.command("evaluate")(evaluate)


@with_fields(Columns, "Column names in the data (default: text, label, value, features, …)", suffix="_column")
def evaluate(
    model: Annotated[str, typer.Argument(help="Version to evaluate: name, name:3 or name@alias.")],
    file: Annotated[
        Path, typer.Argument(help="Data file with labels, values or text, or the id of an uploaded file: file-…")
    ],
    against: Annotated[str | None, typer.Option(help="Another version to compare with on the same rows.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="CSV file for the prediction of each row.")
    ] = None,
    encoding: Annotated[
        str | None, typer.Option(help="Encoding of the file, such as cp1252.", show_default="detected")
    ] = None,
    skip_bad_rows: Annotated[
        float | None, typer.Option(min=0, max=1, help="Skip unusable rows, up to this fraction of all rows.")
    ] = None,
    validation_split: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Use only the rows that a training run with this split would hold out."),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Follow the evaluation until it ends.")] = True,
    as_json: Json = False,
    **options: Any,
) -> None:
    """Measure a version on a data file: metrics, confusions and worst mistakes.

    The result is stored with the version.
    """
    columns = collect(options, Columns, "_column")
    request: dict[str, Any] = {"model": model, "against": against, "columns": columns}
    request |= {"encoding": encoding, "skip_bad_rows": skip_bad_rows, "validation_split": validation_split}
    request = {name: value for name, value in request.items() if value not in (None, {})}
    with connect() as client:
        if output is not None:
            _check_output(output, client, model)
        request["file"] = _file_id(client, file, request, as_json)
        job = client.create_evaluation(request)
        if wait:
            if not as_json:
                print(f"evaluation {job['id']}", flush=True)
            job = follow(client, job["id"], quiet=as_json)
            if output is not None and job["result_files"]:
                save(client.download(f"/v1/files/{job['result_files'][0]}/content"), output)
    if as_json:
        print_json(job)
    elif not wait:
        print(queued(job))
    else:
        print_report(job)
    if wait and job["status"] != "succeeded":
        raise typer.Exit(1)


def _file_id(client: Client, file: Path, request: dict[str, Any], as_json: bool) -> str:
    """Return the id of a file. A local file is first checked and uploaded, and the result of the check is printed.

    Raises NotFound if the version does not exist, and InvalidRequest if the version cannot be evaluated on the file.
    """
    if FILE_ID.fullmatch(str(file)) and not file.exists():
        return str(file)
    with as_regular_files({"file": file}) as paths:
        card = look_up(client, request["model"])
        if "against" in request:
            _check_comparable(card, look_up(client, request["against"], param="against"))
        check_evaluation(paths["file"], card, request, as_json)
        return upload_once(client, paths["file"], quiet=True)


def _check_output(output: Path, client: Client, model: str) -> None:
    """Raise InvalidRequest if the file cannot be written, or for a language model, which has no predictions."""
    check_target(output)
    if look_up(client, model)["task"] == "generation":
        reason = "an evaluation of a language model has no predictions for each row"
        raise InvalidRequest(f"--output: {reason}; nothing was uploaded")


def _check_comparable(card: dict[str, Any], other: dict[str, Any]) -> None:
    """Raise InvalidRequest if two versions cannot be measured on the same rows."""
    for field, noun in (("task", "task"), ("input", "kind of input")):
        if card[field] != other[field]:
            message = f"{other['id']} and {card['id']} cannot be compared: the {noun} of {other['id']} is "
            message += f"{other[field]}, but the {noun} of {card['id']} is {card[field]}; nothing was uploaded"
            raise InvalidRequest(message, param="against")


def print_report(job: dict[str, Any]) -> None:
    """Print an evaluation's report, or the reason why it has no report."""
    report = job["report"]
    if report is None:
        warn(failure(job))
        return
    for line in summary(job):
        print(line)
    for columns, rows in (labels_of(report), confusions_of(report), mistakes_of(report)):
        if rows:
            print()
            table(columns, rows)
    if job["result_files"] and report.get("task") != "generation":
        print(f"\nthe prediction for each row: ostinato files download {job['result_files'][0]}")


def summary(job: dict[str, Any]) -> Iterator[str]:
    """Yield lines with the metrics of each version and, for two versions, their comparison."""
    report = job["report"]
    yield f"{job['version']}: {_figures(report['metrics'])}"
    if other := report.get("against"):
        yield f"{other['model']}: {_figures(other['metrics'])}"
        yield str(report["comparison"]["summary"])


def _figures(metrics: dict[str, Any]) -> str:
    if too_few(metrics.get("rows")):
        return verdict(metrics["rows"])
    count = quantity(metrics["rows"], "row") if "rows" in metrics else quantity(metrics.get("tokens", 0), "token")
    shown = [_figure(name, metrics) for name in FIGURES if metrics.get(name) is not None]
    return ", ".join([count, *shown])


def _figure(name: str, metrics: dict[str, Any]) -> str:
    """Return a metric with its name and, if it covers fewer rows than the other metrics, their number."""
    covered = metrics.get("loss_rows") if name == "loss" else None
    if too_few(covered):
        return f"loss on {verdict(covered)}"
    figure = shown_metric(name, metrics[name])
    return figure if covered is None else f"{figure} (on the {quantity(covered, 'row')} with labels of the version)"


def labels_of(report: dict[str, Any]) -> tuple[list[str], list[list[Any]]]:
    """A table of the labels that have the most rows. Empty if there are too few rows for meaningful metrics."""
    few = too_few(report["metrics"].get("rows"))
    per_label = {} if few else report["metrics"].get("per_class") or {}
    most = sorted(per_label.items(), key=lambda item: -item[1]["support"])[:LABELS]
    rows = [[name, v["support"], *(f"{v[key]:.3f}" for key in ("precision", "recall", "f1"))] for name, v in most]
    return ["label", "rows", "precision", "recall", "f1"], rows


def confusions_of(report: dict[str, Any]) -> tuple[list[str], list[list[Any]]]:
    """A table of the most frequently confused pairs of labels."""
    labels, matrix = list(report["metrics"].get("per_class") or {}), report["metrics"].get("confusion_matrix") or []
    pairs = [
        [count, labels[true], labels[predicted]]
        for true, row in enumerate(matrix)
        for predicted, count in enumerate(row)
        if count and true != predicted
    ]
    return ["rows", "label", "predicted"], sorted(pairs, key=lambda pair: -pair[0])[:CONFUSIONS]


def mistakes_of(report: dict[str, Any]) -> tuple[list[str], list[list[Any]]]:
    """A table of the worst mistakes, with the probabilities of the true and predicted labels."""
    rows = []
    for mistake in (report.get("mistakes") or [])[:MISTAKES]:
        text = " ".join((mistake["text"] or mistake.get("series", "")).split())
        shown = text if len(text) <= _TEXT else text[: _TEXT - 1] + "…"
        rows.append([mistake["where"], *_answers(mistake), shown])
    named = "series" if any("series" in mistake for mistake in report.get("mistakes") or []) else "text"
    return ["worst mistakes", "true", "predicted", named], rows


def _answers(mistake: dict[str, Any]) -> list[str]:
    if "value" in mistake:
        return [f"{mistake['value']:g}", f"{mistake['predicted']:g}"]
    return [
        ", ".join(f"{label} {mistake['probabilities'][label]:.3f}" for label in mistake[side])
        for side in ("labels", "predicted")
    ]
