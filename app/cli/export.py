"""`ostinato export`: saves a version as a tar archive or a directory, in the format of this service or of another
program.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterable
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import Annotated

import typer

from app.cli.output import Json, connect, print_json, size
from app.cli.references import ROOT, Reference, locate
from app.errors import InvalidRequest


class ExportFormat(StrEnum):
    """The formats for saving a version."""

    checkpoint = "checkpoint"
    huggingface = "huggingface"
    onnx = "onnx"
    peft = "peft"


def register(program: typer.Typer) -> None:
    program.command("export")(export_version)


Directory = Annotated[Path | None, typer.Argument(help="Same as --output.", show_default=False)]
Format = Annotated[
    ExportFormat,
    typer.Option(
        "--format",
        help="checkpoint: Ostinato's format. The other formats are written to a directory; peft is only "
        "for adapters of language models.",
    ),
]


def export_version(
    reference: Reference,
    directory: Directory = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A .tar file, or a new directory.", show_default="NAME-N.tar")
    ] = None,
    to_format: Format = ExportFormat.checkpoint,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing .tar file.")] = False,
    as_json: Json = False,
) -> None:
    """Save a version as a tar archive or a directory, or convert it for another program."""
    if directory is not None and output is not None:
        raise InvalidRequest(f"the target is given twice, as {directory} and with --output {output}")
    with connect() as client:
        name, number = locate(client, reference)

        def chunks() -> Iterable[bytes]:
            return client.download(f"{ROOT}/{name}/versions/{number}/export")

        if to_format is ExportFormat.checkpoint:
            target = output or directory or Path(f"{name}-{number}.tar")
            _check_archive(target, force)
            count = save(chunks(), target) if target.suffix == ".tar" else unpack(chunks(), target)
            content = size(count)
        else:
            target = output or directory or Path(f"{name}-{number}-{to_format.value}")
            count, content = _converted(chunks, target, to_format)
    if as_json:
        print_json({"model": name, "version": number, "path": str(target), "bytes": count})
    else:
        print(f"saved {name}:{number} as {target} ({content})")


def _check_archive(target: Path, force: bool) -> None:
    if target.suffix == ".tar" and target.exists() and not force:
        raise InvalidRequest(f"{target} already exists; replace it with --force, or choose another name with --output")


def _converted(chunks: Callable[[], Iterable[bytes]], target: Path, to_format: ExportFormat) -> tuple[int, str]:
    """Download a version and write it in another format. Returns the size of the result, and a description of it."""
    from app.exporting.convert_version import convert_version

    if target.exists():
        raise InvalidRequest(f"{target} already exists; choose a new directory")
    with tempfile.TemporaryDirectory(prefix=".export-", dir=target.absolute().parent) as folder:
        checkpoint, converted = Path(folder) / "checkpoint", Path(folder) / "converted"
        unpack(chunks(), checkpoint)
        made = convert_version(checkpoint, converted, to_format.value)
        os.replace(converted, target)
    count = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    return count, f"{made}, {size(count)}"


def check_target(target: Path) -> None:
    """Raise InvalidRequest if `save` could not write to this path. Called before a long operation."""
    if target.is_dir():
        raise InvalidRequest(f"--output {target}: is a directory")
    if not target.parent.is_dir():
        raise InvalidRequest(f"--output {target}: the directory {target.parent} does not exist")


def save(chunks: Iterable[bytes], target: Path) -> int:
    """Write `chunks` to the file `target` atomically. Returns the size in bytes."""
    partial = target.with_name(f".{target.name}.part")
    try:
        with partial.open("wb") as file:
            count = sum(file.write(chunk) for chunk in chunks)
        os.replace(partial, target)
    except OSError as error:
        raise InvalidRequest(f"cannot write {target}: {error.strerror}") from None
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
    return count


def unpack(chunks: Iterable[bytes], target: Path) -> int:
    """Unpack a tar archive into the new directory `target` atomically. Returns the archive's size in bytes."""
    if target.exists():
        raise InvalidRequest(f"{target} already exists; choose a new directory")
    with tempfile.TemporaryDirectory(prefix=".export-", dir=target.absolute().parent) as folder:
        count = save(chunks, Path(folder) / "export.tar")
        try:
            with tarfile.open(Path(folder) / "export.tar") as tar:
                _extract(tar, Path(folder) / "files")
        except tarfile.TarError as error:
            raise InvalidRequest(f"the service did not send a valid checkpoint archive: {error}") from None
        os.replace(Path(folder) / "files", target)
    return count


def _extract(tar: tarfile.TarFile, folder: Path) -> None:
    """Extract regular files with relative names. Any other member, such as a link or a path with `..`, is an error."""
    folder.mkdir()
    for member in tar:
        place = PurePosixPath(member.name)
        source = tar.extractfile(member) if member.isreg() else None
        if source is None or place.is_absolute() or ".." in place.parts:
            raise tarfile.TarError(f"{member.name!r} is not a regular file, or its path is absolute or contains '..'")
        path = folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            shutil.copyfileobj(source, file)
