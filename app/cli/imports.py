"""`ostinato import`: registers a checkpoint directory, a tar of one, or plain PyTorch weights as a new version.

Weights are converted to a checkpoint directory on this machine first (`app.importing`). The service itself accepts
checkpoint directories only.
"""

from __future__ import annotations

import contextlib
import gzip
import sys
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.output import Json, connect, print_json, warn
from app.cli.references import ROOT
from app.errors import InvalidRequest

if TYPE_CHECKING:
    from app.client import Client

GZIP_MAGIC = b"\x1f\x8b"  # the first bytes of a gzip file
TAR_MAGIC, TAR_MAGIC_OFFSET = b"ustar", 257  # in the first header of a tar


def register(program: typer.Typer) -> None:
    program.command("import")(import_version)


def import_version(
    source: Annotated[
        Path, typer.Argument(help="A checkpoint directory, a tar of one, or weights (.safetensors, .pt).")
    ],
    name: Annotated[str, typer.Option(help="The model to add a version to.")],
    labels: Annotated[
        str | None, typer.Option(help="Weights only: the labels in the head's order, as a,b,c or as a file.")
    ] = None,
    vocabulary: Annotated[
        Path | None, typer.Option(help="Weights only: a tokenizer.json, or the tokens, one per line.")
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="Weights only: classification, multilabel, regression or generation.")
    ] = None,
    heads: Annotated[
        int | None, typer.Option(help="Weights only: number of attention heads, which the shapes do not show.")
    ] = None,
    options: Annotated[
        list[str] | None, typer.Option("--set", help="Weights only: a configuration field, as field=value.")
    ] = None,
    allow_pickle_tensors: Annotated[
        bool,
        typer.Option("--allow-pickle-tensors", help="Read the tensors of a .pt file; code in the file is never run."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Register a checkpoint directory, or plain PyTorch weights, as a new version."""
    from app.importing.pytorch.state_dict import WEIGHTS

    weights = source.suffix in WEIGHTS and not source.is_dir()
    weights_options = {
        "--labels": labels, "--vocabulary": vocabulary, "--task": task, "--heads": heads, "--set": options,
        "--allow-pickle-tensors": allow_pickle_tensors or None,
    }  # fmt: skip
    if not weights and (useless := [flag for flag, value in weights_options.items() if value is not None]):
        raise InvalidRequest(f"{', '.join(useless)}: only for weights; a checkpoint directory contains these already")
    with tempfile.TemporaryDirectory(prefix="ostinato-import-") as folder:
        checkpoint = source
        if weights:
            checkpoint = Path(folder) / "checkpoint"
            fields = dict(_pair(option) for option in options or [])
            fields |= {name: str(value) for name, value in (("heads", heads), ("task", task)) if value is not None}
            for line in _convert(source, checkpoint, labels, vocabulary, fields, allow_pickle_tensors):
                warn(f"assumed {line}")
        with connect() as client, _archive(checkpoint, Path(folder)) as archive:
            version = _upload(client, name, archive)
    if as_json:
        print_json(version)
    else:
        print(f"{name}:{version['version']} is registered: {version['task']}, {version['architecture']}")


def _convert(
    source: Path,
    target: Path,
    labels: str | None,
    vocabulary: Path | None,
    fields: dict[str, str],
    allow_pickle: bool,
) -> tuple[str, ...]:
    """Convert weights to a checkpoint directory; returns the assumptions that were made.

    At a terminal, questions that the weights leave open are asked; elsewhere they are raised as ImportQuestion.
    """
    from app.importing.convert import convert
    from app.importing.questions import ImportQuestion

    if source.suffix != ".safetensors" and not allow_pickle:
        raise InvalidRequest(
            f"{source.name} is a pickle, which can contain code; save the weights as safetensors, or add "
            "--allow-pickle-tensors to read its tensors without running anything"
        )
    while True:
        try:
            return convert(
                source,
                target,
                labels=_read_labels(labels),
                vocabulary=vocabulary,
                fields=fields,
                allow_pickle_tensors=allow_pickle,
            ).assumed
        except ImportQuestion as error:
            if not sys.stdin.isatty():
                raise
            for question in error.questions:
                answer = typer.prompt(str(question), default=question.usual)
                if question.field == "vocabulary":
                    vocabulary = Path(answer)
                else:
                    fields = {**fields, question.field: answer}


def _pair(option: str) -> tuple[str, str]:
    name, separator, value = option.partition("=")
    if not separator:
        raise InvalidRequest(f"--set {option}: must have the form field=value")
    return name, value


def _read_labels(labels: str | None) -> list[str] | None:
    """The labels of a file with one on each line, or of a comma-separated list."""
    if labels is None:
        return None
    try:
        parts = Path(labels).read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError:
        raise InvalidRequest(f"--labels {labels}: the file is not UTF-8") from None
    except (OSError, ValueError):  # there is no such file, or the text cannot be a file name
        parts = labels.split(",")
    return [label.strip() for label in parts if label.strip()]


@contextlib.contextmanager
def _archive(source: Path, folder: Path) -> Iterator[Path]:
    """A tar to upload: `source` itself if it is one, else a tar of the directory `source`.

    Raises InvalidRequest for any other file, so that nothing else leaves this machine.
    """
    if source.is_file():
        if not _is_tar(source):
            raise InvalidRequest(
                f"{source} is neither a checkpoint directory nor a tar of one; weights must be in a "
                ".safetensors or .pt file"
            )
        yield source
        return
    if not (source / "config.json").is_file():
        raise InvalidRequest(f"{source} is not a checkpoint directory: it has no config.json")
    archive = folder / "checkpoint.tar"
    with tarfile.open(archive, "w") as tar:
        for path in sorted(source.rglob("*")):
            if path.is_file() and not path.is_symlink():
                tar.add(path, path.relative_to(source).as_posix(), recursive=False)
    yield archive


def _is_tar(path: Path) -> bool:
    """Whether the file, gzipped or not, begins like a tar."""
    with path.open("rb") as file:
        zipped = file.read(len(GZIP_MAGIC)) == GZIP_MAGIC
    try:
        with gzip.open(path) if zipped else path.open("rb") as file:
            return file.read(TAR_MAGIC_OFFSET + len(TAR_MAGIC))[TAR_MAGIC_OFFSET:] == TAR_MAGIC
    except (OSError, EOFError, zlib.error):
        return False


def _upload(client: Client, name: str, archive: Path) -> dict[str, Any]:
    with archive.open("rb") as stream:
        reply = client.call(
            "POST", f"{ROOT}/{name}/versions", files={"file": (archive.name, stream, "application/x-tar")}
        )
    return dict(reply)
