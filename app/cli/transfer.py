"""`import` and `export`: versions into and out of the registry, as tars of checkpoint directories.

Knows how a checkpoint directory travels. Files of other makers are converted on this machine first, by
`app.importing`; the service itself takes checkpoint directories alone.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import shutil
import sys
import tarfile
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.output import Json, connect, print_json, size, warn
from app.cli.registry import ROOT, client_reference
from app.errors import InvalidRequest

if TYPE_CHECKING:
    from app.client import Client

GZIP, TAR, TAR_AT = b"\x1f\x8b", b"ustar", 257  # how these begin; where a tar says what it is


def register(program: typer.Typer) -> None:
    program.command("import")(import_version)
    program.command("export")(export_version)


def export_version(
    reference: Annotated[str, typer.Argument(help="name, name:3 or name@alias.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A .tar, or a new directory. [default: NAME-N.tar]")
    ] = None,
    as_json: Json = False,
) -> None:
    """Save a version as a tar or a directory: config, weights, tokenizer, labels, figures."""
    with connect() as client:
        name, number = client_reference(client, reference)
        target = output or Path(f"{name}-{number}.tar")
        chunks = client.download(f"{ROOT}/{name}/versions/{number}/export")
        count = save(chunks, target) if target.suffix == ".tar" else unpack(chunks, target)
    if as_json:
        print_json({"model": name, "version": number, "path": str(target), "bytes": count})
    else:
        print(f"saved {name}:{number} as {target} ({size(count)})")


def save(chunks: Iterable[bytes], target: Path) -> int:
    """Write what comes to a file, whole or not at all; its size."""
    aside = target.with_name(f".{target.name}.part")
    try:
        with aside.open("wb") as file:
            count = sum(file.write(chunk) for chunk in chunks)
        os.replace(aside, target)
    except OSError as error:
        raise InvalidRequest(f"cannot write {target}: {error.strerror}") from None
    finally:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)
    return count


def unpack(chunks: Iterable[bytes], target: Path) -> int:
    """Write what a tar holds into a new directory, whole or not at all; the tar's size."""
    if target.exists():
        raise InvalidRequest(f"{target} exists already; name a new directory")
    with tempfile.TemporaryDirectory(prefix=".export-", dir=target.absolute().parent) as folder:
        count = save(chunks, Path(folder) / "export.tar")
        try:
            with tarfile.open(Path(folder) / "export.tar") as tar:
                _extract(tar, Path(folder) / "files")
        except tarfile.TarError as error:
            raise InvalidRequest(f"what came is no tar of a checkpoint: {error}") from None
        os.replace(Path(folder) / "files", target)
    return count


def _extract(tar: tarfile.TarFile, folder: Path) -> None:
    """Plain files under plain relative names only, whatever else an archive may hold."""
    folder.mkdir()
    for member in tar:
        place = PurePosixPath(member.name)
        source = tar.extractfile(member) if member.isreg() else None
        if source is None or place.is_absolute() or ".." in place.parts:
            raise tarfile.TarError(f"{member.name!r} is no plain file inside it")
        path = folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            shutil.copyfileobj(source, file)


def import_version(
    source: Annotated[
        Path, typer.Argument(help="A checkpoint directory or a tar of one; .pt or .safetensors weights.")
    ],
    name: Annotated[str, typer.Option(help="The model to add a version to.")],
    labels: Annotated[
        str | None, typer.Option(help="Weights: the labels in the head's order, a,b,c or a file.")
    ] = None,
    vocabulary: Annotated[
        Path | None, typer.Option(help="Weights: the tokens, a tokenizer.json or one a line.")
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="Weights: classification, multilabel, regression or generation.")
    ] = None,
    heads: Annotated[int | None, typer.Option(help="Weights: attention heads, which no shape tells.")] = None,
    options: Annotated[
        list[str] | None, typer.Option("--set", help="Weights: a configuration field, as field=value.")
    ] = None,
    allow_pickle_tensors: Annotated[
        bool, typer.Option("--allow-pickle-tensors", help="Read a .pt file, tensors alone; nothing in it is run.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Register a checkpoint directory, or plain PyTorch weights, as a new version."""
    from app.importing.pytorch.state_dict import WEIGHTS

    weights = source.suffix in WEIGHTS and not source.is_dir()
    of_weights = {
        "--labels": labels, "--vocabulary": vocabulary, "--task": task, "--heads": heads, "--set": options,
        "--allow-pickle-tensors": allow_pickle_tensors or None,
    }  # fmt: skip
    if not weights and (useless := [flag for flag, given in of_weights.items() if given is not None]):
        raise InvalidRequest(f"{', '.join(useless)}: only for weights by themselves; a checkpoint says it all itself")
    with tempfile.TemporaryDirectory(prefix="ostinato-import-") as folder:
        checkpoint = source
        if weights:
            checkpoint = Path(folder) / "checkpoint"
            fields = dict(_pair(option) for option in options or [])
            fields |= {name: str(given) for name, given in (("heads", heads), ("task", task)) if given is not None}
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
    """Make a checkpoint directory of plain weights; at a terminal, what their shapes do not tell is asked for.

    Returns what was assumed.
    """
    from app.importing.convert import convert
    from app.importing.questions import ImportQuestion

    if source.suffix != ".safetensors" and not allow_pickle:
        raise InvalidRequest(
            f"{source.name} is a pickle, which can hold more than weights; save it as safetensors, or add "
            "--allow-pickle-tensors to have its tensors read, and nothing run"
        )
    while True:
        try:
            return convert(
                source,
                target,
                labels=_names(labels),
                vocabulary=vocabulary,
                fields=fields,
                allow_pickle_tensors=allow_pickle,
            ).assumed
        except ImportQuestion as asked:
            if not sys.stdin.isatty():
                raise
            for question in asked.questions:
                answer = typer.prompt(str(question), default=question.usual)
                if question.field == "vocabulary":
                    vocabulary = Path(answer)
                else:
                    fields = {**fields, question.field: answer}


def _pair(option: str) -> tuple[str, str]:
    name, separator, value = option.partition("=")
    if not separator:
        raise InvalidRequest(f"--set {option}: write it as field=value")
    return name, value


def _names(labels: str | None) -> list[str] | None:
    if labels is None:
        return None
    try:
        found = Path(labels).read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError:
        raise InvalidRequest(f"--labels {labels}: the file is not UTF-8") from None
    except (OSError, ValueError):  # no file has such a name, or a name so long
        found = labels.split(",")
    return [label.strip() for label in found if label.strip()]


@contextlib.contextmanager
def _archive(source: Path, folder: Path) -> Iterator[Path]:
    """A tar of the directory; a tar is taken as it is, and no other file is sent."""
    if source.is_file():
        if not _is_tar(source):
            raise InvalidRequest(
                f"{source} is neither a checkpoint directory nor a tar of one; weights by themselves have the name "
                f"*.safetensors or *.pt"
            )
        yield source
        return
    if not (source / "config.json").is_file():
        raise InvalidRequest(f"{source} is no checkpoint directory: it has no config.json")
    archive = folder / "checkpoint.tar"
    with tarfile.open(archive, "w") as tar:
        for path in sorted(source.rglob("*")):
            if path.is_file() and not path.is_symlink():
                tar.add(path, path.relative_to(source).as_posix(), recursive=False)
    yield archive


def _is_tar(path: Path) -> bool:
    """By how it begins, within gzip or not."""
    with path.open("rb") as file:
        packed = file.read(len(GZIP)) == GZIP
    try:
        with gzip.open(path) if packed else path.open("rb") as file:
            return file.read(TAR_AT + len(TAR))[TAR_AT:] == TAR
    except (OSError, EOFError, zlib.error):
        return False


def _upload(client: Client, name: str, archive: Path) -> dict[str, Any]:
    with archive.open("rb") as stream:
        reply = client.call(
            "POST", f"{ROOT}/{name}/versions", files={"file": (archive.name, stream, "application/x-tar")}
        )
    return dict(reply)
