"""`ostinato train`: uploads the data, creates a training job and follows it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.follow import conclude, follow
from app.cli.options import collect, with_fields
from app.cli.output import Json, connect, print_json, warn
from app.errors import InvalidRequest, NotFound, OstinatoError
from app.jobs.parsing import parse
from app.wire.training_options import Columns, TrainingOptions
from models.config import ARCHITECTURES

if TYPE_CHECKING:
    from app.client import Client

Data = Annotated[Path, typer.Argument(help="Training data: CSV, TSV, JSONL, parquet or plain text; also gzipped.")]


def register(program: typer.Typer) -> None:
    program.command("train")(train)


@with_fields(TrainingOptions, "Training (defaults depend on the data and the machine)")
@with_fields(Columns, "Column names in the data (default: text, label, value, features, …)", suffix="_column")
def train(
    file: Data,
    model: Annotated[
        str, typer.Option("--model", "-m", help=f"{', '.join(ARCHITECTURES)}, or a version to fine-tune.")
    ] = "transformer",
    name: Annotated[str | None, typer.Option(help="Name of the model that gets the new version.")] = None,
    alias: Annotated[str | None, typer.Option(help="Alias to point at the new version.")] = None,
    task: Annotated[
        str | None,
        typer.Option(
            help="classification, generation, regression or multilabel.", show_default="inferred from the data"
        ),
    ] = None,
    validation_file: Annotated[
        Path | None, typer.Option(help="Validation data, to choose the best checkpoint.")
    ] = None,
    validation_split: Annotated[
        float | None, typer.Option(help="Fraction of the rows to hold out if there is no validation data.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Random seed. Equal inputs and seeds give equal weights.")] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Follow the job until it ends.")] = True,
    as_json: Json = False,
    **options: Any,
) -> None:
    """Train a model: upload a data file, create a training job, and follow it until its version is ready."""
    request: dict[str, Any] = {
        "model": model,
        "task": task,
        "validation_split": validation_split,
        "seed": seed,
        "columns": collect(options, Columns, "_column"),
        "training": collect(options, TrainingOptions),
        "publish": {k: v for k, v in (("name", name), ("alias", alias)) if v is not None},
    }
    request = {k: v for k, v in request.items() if v not in (None, {})}
    files = {"training_file": file} | ({"validation_file": validation_file} if validation_file else {})
    _check(request, files)
    with connect() as client:
        job = client.create_job(request | {field: _upload(client, path, as_json) for field, path in files.items()})
        if wait:
            _follow(client, job, as_json)
        elif as_json:
            print_json(job)
        else:
            print(f"{job['id']} is queued; follow it with: ostinato jobs follow {job['id']}")


def _check(request: dict[str, Any], files: dict[str, Path]) -> None:
    """Raise InvalidRequest before the upload for options that the service would reject and for unreadable files."""
    parse(request | {field: f"file-{number}" for number, field in enumerate(files)})
    for path in files.values():
        try:
            path.open("rb").close()
        except OSError as error:
            raise InvalidRequest(f"cannot read {path}: {error.strerror or error}") from None


def _upload(client: Client, path: Path, quiet: bool) -> str:
    stored = client.upload(path)
    if not quiet:
        print(f"uploaded {path.name} as {stored['id']}", flush=True)
    return str(stored["id"])


def _follow(client: Client, job: dict[str, Any], as_json: bool) -> None:
    if not as_json:
        print(f"job {job['id']}", flush=True)
    ended = follow(client, job["id"], quiet=as_json)
    if as_json:
        print_json(ended)
        if ended["status"] != "succeeded":
            raise typer.Exit(1)
        return
    conclude(ended, published(client, ended))


def published(client: Client, job: dict[str, Any]) -> dict[str, Any] | None:
    """The version that a job published; None if it published none or the version is deleted."""
    name, _, number = str(job.get("fine_tuned_model") or "").partition(":")
    if not number:
        return None
    try:
        return dict(client.get(f"/v1/registry/models/{name}/versions/{number}"))
    except OstinatoError as error:
        if error.status == NotFound.status:
            return None
        warn(error.message)
        return None
