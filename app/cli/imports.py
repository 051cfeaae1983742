"""`ostinato import`: registers a checkpoint directory, its tar archive, or another program's weights as a new version.

Weights, GGUF files and Hugging Face directories are first converted to a checkpoint directory on this machine
(`app.importing`), because the service itself accepts only checkpoint directories.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app import settings
from app.cli.import_probe import Tested, answer_probe, probe_checkpoint, send_probes, show_probe
from app.cli.import_weights import WeightsOptions, convert_weights, read_fields
from app.cli.output import Json, clean, connect, print_json, warn
from app.cli.references import ROOT, check_new_name
from app.cli.wording import in_own_words
from app.errors import InvalidRequest

if TYPE_CHECKING:
    from app.client import Client

GZIP_MAGIC = b"\x1f\x8b"  # the first bytes of a gzip file
PICKLE_STARTS = (b"PK\x03\x04", b"\x80")  # the first bytes of a file that torch.save wrote
TAR_MAGIC, TAR_MAGIC_OFFSET = b"ustar", 257  # in the first header of a tar archive


Source = Annotated[
    Path,
    typer.Argument(
        help="A checkpoint directory, a tar archive of one, a Hugging Face directory, a GGUF file, a Keras "
        "model, or weights."
    ),
]
Labels = Annotated[
    str | None,
    typer.Option(help="Weights only: the labels in the order of the network's outputs, as a,b,c or as a file."),
]
Vocabulary = Annotated[
    Path | None,
    typer.Option(help="Weights only: a tokenizer.json, a JSON list or dictionary of tokens, or one token per line."),
]
Task = Annotated[
    str | None, typer.Option(help="Weights only: the task (classification, multilabel, regression or generation).")
]
Heads = Annotated[
    int | None, typer.Option(help="Weights only: number of attention heads, which the shapes do not determine.")
]
Options = Annotated[
    list[str] | None, typer.Option("--set", help="Weights only: the answer to a question, as field=value.")
]
ProbeInput = Annotated[
    str | None,
    typer.Option(
        help="A file of typical inputs, on which data types are compared. For weights, PROBE may also be a single "
        "input. The command prints the answer to the first input, for comparison with your program's answer."
    ),
]
AllowPickle = Annotated[
    bool, typer.Option("--allow-pickle-tensors", help="Read the tensors of a .pt file. Code in the file is never run.")
]


def register(program: typer.Typer) -> None:
    program.command("import")(import_version)


def import_version(
    source: Source,
    name: Annotated[str, typer.Option(help="Model to add the version to.")],
    labels: Labels = None,
    vocabulary: Vocabulary = None,
    task: Task = None,
    heads: Heads = None,
    options: Options = None,
    probe: ProbeInput = None,
    allow_pickle_tensors: AllowPickle = False,
    as_json: Json = False,
) -> None:
    """Register a checkpoint, a Hugging Face directory, a GGUF file, a Keras model, or PyTorch weights as a version."""
    from app.importing.formats import describe
    from app.importing.gguf.convert_gguf import is_gguf
    from app.importing.huggingface.directory import is_model_directory
    from app.importing.keras.sources import is_keras
    from app.importing.pytorch.state_dict import is_weights

    check_new_name(name)
    if not source.exists():
        raise InvalidRequest(f"{source} does not exist")
    with ExitStack() as stack:
        original_paths: dict[str, str] = {}
        source = Path(_without_pipe(str(source), original_paths, stack))
        labels, probe = (value and _without_pipe(value, original_paths, stack) for value in (labels, probe))
        vocabulary = vocabulary and Path(_without_pipe(str(vocabulary), original_paths, stack))
        shown = original_paths.get(str(source), str(source))
        keras = is_keras(source)
        if not keras and (kind := describe(source)):
            raise InvalidRequest(f"{shown} is {kind}")
        own = {"labels": labels, "vocabulary": vocabulary, "task": task, "heads": heads}
        if keras or is_model_directory(source) or is_gguf(source) or is_weights(source):
            fields = read_fields(options or [], {key: str(value) for key, value in own.items() if value is not None})
            of_weights = WeightsOptions(source, name, labels, vocabulary, allow_pickle_tensors, fields, original_paths)
            _import_weights(of_weights, probe, as_json)
            return
        _check_checkpoint(source, shown)
        weights_options = {f"--{key}": value for key, value in own.items()} | {
            "--set": options, "--allow-pickle-tensors": allow_pickle_tensors or None,
        }  # fmt: skip
        if useless := [flag for flag, value in weights_options.items() if value is not None]:
            raise InvalidRequest(
                f"{', '.join(useless)} can only be used with weights; a checkpoint directory already contains "
                "this information"
            )
        _import_checkpoint(source, name, probe, as_json)


def _without_pipe(value: str, original_paths: dict[str, str], stack: ExitStack) -> str:
    """If `value` is a pipe, copy it, because it can be read only once, and return the copy's path.

    Records the copy in `original_paths`. Any other value is returned unchanged. A copy of weights gets the usual suffix
    of its format.
    """
    path = Path(value)
    try:
        if not path.exists() or path.is_file() or path.is_dir():
            return value
    except (OSError, ValueError):  # a value that cannot be a path, such as a long list of labels
        return value
    try:
        folder = stack.enter_context(_working_folder(path))
        with path.open("rb") as stream:
            start = stream.read(16)
            suffix = ".pt" if start.startswith(PICKLE_STARTS) else ".safetensors" if start[8:9] == b"{" else ""
            copy = folder / f"pipe{suffix}"
            with copy.open("wb") as file:
                file.write(start)
                shutil.copyfileobj(stream, file)
    except OSError as error:
        raise InvalidRequest(f"cannot read {value}: {error.strerror or error}") from None
    original_paths[str(copy)] = value
    return str(copy)


def _import_checkpoint(source: Path, name: str, probe: str | None, as_json: bool) -> None:
    """Register a checkpoint, and show the new version's answer to a test request."""
    from app.importing.probe import read_inputs

    inputs = read_inputs(probe)
    if probe is not None and inputs is None:
        raise InvalidRequest(f"--probe: for a checkpoint, it must be a file of inputs; {probe!r} is not a file")
    tested = probe_checkpoint(source, inputs)
    with connect() as client:
        with _archive(source) as archive:
            version = _upload(client, name, archive)
        _finish(client, name, version, tested, inputs, as_json, converted=False)


def _import_weights(options: WeightsOptions, own_probe: str | None, as_json: bool) -> None:
    """Convert weights, register them, and show the new version's answer to a test request."""
    from app.importing.probe import make_probe, read_inputs

    with _working_folder(options.source) as folder:
        checkpoint = folder / "checkpoint"
        converted = convert_weights(options, checkpoint)
        for line in converted.assumed:
            warn(f"assumed {clean(line)}")
        warn(f"computes {clean(converted.computation)}")
        config = converted.checkpoint.config
        probe, inputs = make_probe(checkpoint, config, own_probe), read_inputs(own_probe)
        tested = Tested(probe, config.task, converted.checkpoint.labels)
        with connect() as client:
            with _archive(checkpoint) as archive:
                version = _upload(client, options.name, archive)
            _finish(client, options.name, version, tested, inputs, as_json, converted=True)


def _finish(
    client: Client,
    name: str,
    version: dict[str, Any],
    tested: Tested | None,
    inputs: list[Any] | None,
    as_json: bool,
    *,
    converted: bool,
) -> None:
    """Store the user's inputs with a new version, and print the version with its answer to a test request."""
    from app.client import ServiceError

    send_probes(client, name, version["version"], inputs)
    reference = f"{name}:{version['version']}"
    answer: dict[str, float] | None = None
    try:
        if tested is not None:
            answer = answer_probe(client, reference, tested.task, tested.labels, tested.probe)
    except ServiceError as error:
        warn(f"{reference} is registered, but did not answer a test request: {in_own_words(error.message)}")
    if tested is None or answer is None:
        _report(version, name, as_json)
        return
    _report(version | {"probe": {"input": tested.probe.input, "answer": answer}}, name, as_json)
    if not as_json:
        show_probe(tested.probe, answer, converted=converted)


def _report(version: dict[str, Any], name: str, as_json: bool) -> None:
    if as_json:
        print_json(version)
    else:
        print(f"{name}:{version['version']} is registered: {version['task']}, {version['architecture']}")


@contextlib.contextmanager
def _working_folder(source: Path) -> Iterator[Path]:
    """Yield a temporary folder next to `source`, or in the data folder for a pipe or a read-only parent folder.

    The system's temporary folder is often in memory, which may be too small for converted weights.
    """
    parent = source.absolute().parent
    is_pipe = source.exists() and not (source.is_file() or source.is_dir())  # its parent may be /dev/fd
    if is_pipe or not os.access(parent, os.W_OK | os.X_OK):
        parent = settings.load().scratch_dir
        parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".import-", dir=parent) as folder:
        yield Path(folder)


@contextlib.contextmanager
def _archive(source: Path) -> Iterator[Path]:
    """Yield the tar archive to upload: `source` itself or, if it is a directory, a new archive of it."""
    if source.is_file():
        yield source
        return
    with _working_folder(source) as folder:
        archive = folder / "checkpoint.tar"
        with tarfile.open(archive, "w") as tar:
            for path in sorted(source.rglob("*")):
                if path.is_file() and not path.is_symlink():
                    tar.add(path, path.relative_to(source).as_posix(), recursive=False)
        yield archive


def _check_checkpoint(source: Path, shown: str) -> None:
    """Raise InvalidRequest unless `source` is a checkpoint directory or a tar archive. `shown` is its name in messages.

    This check keeps other files from being uploaded by mistake.
    """
    if source.is_file() and not _is_tar(source):
        raise InvalidRequest(
            f"{shown} is neither a checkpoint directory nor its tar archive; weights must be in a .safetensors or "
            ".pt file"
        )
    if source.is_dir() and not (source / "config.json").is_file():
        raise InvalidRequest(f"{shown} is not a checkpoint directory: it has no config.json")


def _is_tar(path: Path) -> bool:
    """Whether the file begins like a tar archive, possibly gzipped."""
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
