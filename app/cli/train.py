"""`ostinato train`: checks and uploads the data, creates a training job and follows it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.data import as_regular_files, check_data
from app.cli.estimate import show_estimate
from app.cli.follow import follow, queued
from app.cli.options import collect, with_fields
from app.cli.outcome import conclude
from app.cli.output import Json, connect, print_json
from app.cli.references import check_new_name, look_up
from app.cli.uploads import upload_once, uploaded_for_estimate
from app.jobs.limits import FILE_ID
from app.jobs.parsing import parse
from app.wire.file_formats import TABLES
from app.wire.trainer import AUTO
from app.wire.training_options import VALIDATION_SPLIT, Columns, TrainingOptions
from models.choices import ARCHITECTURES

if TYPE_CHECKING:
    from app.client import Client

MODEL = f"auto, to train several and publish the best; {', '.join(ARCHITECTURES)}; or a version to fine-tune."
Data = Annotated[
    Path,
    typer.Argument(
        help=f"Training data: {', '.join(TABLES)} or plain text, which may be gzipped, or the id of an "
        "uploaded file: file-…"
    ),
]
Name = Annotated[
    str | None,
    typer.Option(
        help="Name of the model to which the version is added.", show_default="the architecture and the job's id"
    ),
]
Task = Annotated[
    str | None,
    typer.Option(
        help="What to learn: classification, generation, regression or multilabel.",
        show_default="inferred from the data",
    ),
]
ValidationSplit = Annotated[
    float | None,
    typer.Option(
        help="Fraction of the rows to hold out if there is no validation data.", show_default=str(VALIDATION_SPLIT)
    ),
]


def register(program: typer.Typer) -> None:
    program.command("train")(train)


@with_fields(TrainingOptions, "Training (defaults depend on the data and the machine)")
@with_fields(Columns, "Column names in the data (default: text, label, value, features, …)", suffix="_column")
def train(
    file: Data,
    model: Annotated[str, typer.Option("--model", "-m", help=MODEL)] = AUTO,
    name: Name = None,
    alias: Annotated[str | None, typer.Option(help="Alias that will point to the new version.")] = None,
    task: Task = None,
    validation_file: Annotated[
        Path | None, typer.Option(help="Validation data, to choose the best checkpoint.")
    ] = None,
    validation_split: ValidationSplit = None,
    seed: Annotated[int | None, typer.Option(help="Random seed, which makes runs reproducible.")] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Follow the job until it ends.")] = True,
    estimate: Annotated[
        bool,
        typer.Option(
            "--estimate",
            help="Only estimate the size, memory and time of the job. Uploads the data, and deletes it afterwards "
            "unless it was uploaded before.",
        ),
    ] = False,
    as_json: Json = False,
    **options: Any,
) -> None:
    """Train a model: check and upload a data file, create a training job, and follow it until its version is ready."""
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
    parse(request | {field: f"file-{number}" for number, field in enumerate(files)})  # validate before uploading
    if name is not None:
        check_new_name(name)
    ids = {field: str(path) for field, path in files.items() if _is_id(path)}
    with as_regular_files({field: path for field, path in files.items() if field not in ids}) as paths:
        printed = check_data(paths, request | ids, as_json)
        with connect() as client:
            if model != AUTO and model not in ARCHITECTURES:
                look_up(client, model, choices=(*ARCHITECTURES, AUTO))
            if estimate:
                with uploaded_for_estimate(client, paths, as_json) as lent:
                    show_estimate(client.estimate_job(request | ids | lent), as_json, printed)
                return
            ids |= {field: upload_once(client, path, as_json) for field, path in paths.items()}
            _start(client, request | ids, wait, as_json, printed)


def _start(client: Client, request: dict[str, Any], wait: bool, as_json: bool, printed: Sequence[str]) -> None:
    """Create the job, and follow it if `wait` is set."""
    job = client.create_job(request)
    if wait:
        _follow(client, job, as_json, printed)
    elif as_json:
        print_json(job)
    else:
        print(queued(job))


def _is_id(path: Path) -> bool:
    """Whether the argument is the id of an uploaded file. A local file of that name takes precedence."""
    return FILE_ID.fullmatch(str(path)) is not None and not path.exists()


def _follow(client: Client, job: dict[str, Any], as_json: bool, printed: Sequence[str]) -> None:
    if not as_json:
        print(f"job {job['id']}", flush=True)
    ended = follow(client, job["id"], quiet=as_json, printed=printed, patient=sys.stderr.isatty())
    if as_json:
        print_json(ended)
        if ended["status"] != "succeeded":
            raise typer.Exit(1)
        return
    conclude(client, ended)
