"""A disk becomes full during a training run: the trainer reports it, and a later attempt ends with the same weights."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from safetensors import SafetensorError

from app.checkpoint import directory as checkpoint
from app.disk_errors import EXIT_CODE
from app.training.loop import progress
from app.training.prepare.dataset import NumberFile
from app.training.report import results, weights
from app.training.run.preparation import Machine
from app.training.run.session import Session
from app.wire.trainer import Broke, Done
from tests.training import runs

pytestmark = pytest.mark.long

TRAINING = {"max_steps": 8, "eval_every": 2, "width": 32}
SERIALIZING = "Error while serializing: I/O error: No space left on device (os error 28)"
UNREADABLE = "Error while serializing: I/O error: Input/output error (os error 5)"


def make(run: Path) -> Path:
    return runs.make(run, "rows.csv", runs.table(80), "gru", training=TRAINING)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The hash of the weights from a training run with enough disk space."""
    run = make(tmp_path_factory.mktemp("undisturbed"))
    assert isinstance(runs.train(run)[-1], Done)
    return runs.digest(run)


def fail_at(call: int, original: Callable[..., Any], error: Exception) -> Callable[..., Any]:
    """Return a version of `original` that fails from call number `call` on."""
    calls = iter(range(1, 10**6))

    def function(*arguments: Any, **options: Any) -> Any:
        if next(calls) >= call:
            raise error
        return original(*arguments, **options)

    return function


FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    ("module", "name", "call", "error"),
    [
        (progress, "save_file", 1, SafetensorError(SERIALIZING)),
        (progress, "save_file", 2, SafetensorError(SERIALIZING)),
        (weights, "save_file", 2, SafetensorError(SERIALIZING.replace("28", "122"))),
        (weights, "save_file", 1, SafetensorError(UNREADABLE)),
        (checkpoint, "write_json", 2, OSError(errno.EDQUOT, "Disk quota exceeded")),
        (results, "write_csv", 1, FULL),
        (NumberFile, "_write", 2, OSError(errno.EIO, "Input/output error")),
    ],
)  # fmt: skip
def test_a_full_disk_is_waited_for_however_often(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    undisturbed: str,
    module: Any,
    name: str,
    call: int,
    error: Exception,
) -> None:
    run = make(tmp_path)
    for _ in range(3):
        with monkeypatch.context() as full:
            full.setattr(module, name, fail_at(call, getattr(module, name), error))
            session = Session(run, runs.Heard(), lambda: False, Machine(threads=1, device="cpu"))
            with pytest.raises(type(error)) as raised:
                session.attempt()
            last = session.break_off(raised.value)  # type: ignore[arg-type]
        assert isinstance(last, Broke) and last.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO)
        assert not list(run.rglob(".tmp")) and not list(run.rglob(".*.tmp"))
    assert isinstance(runs.train(run)[-1], Done)
    assert runs.digest(run) == undisturbed


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MB."""
    place = tmp_path / "small"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(place)]
    try:
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("this user cannot mount a file system")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def fill(disk: Path, leave: int) -> Path:
    """Fill the disk except for this number of bytes."""
    filler = disk / "filler"
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    filler.write_bytes(b"\0" * (free - leave))
    return filler


@pytest.mark.parametrize("leave", [0, 100_000, 400_000])
def test_a_real_full_disk(small_disk: Path, undisturbed: str, leave: int) -> None:
    """The exit code reports the full disk, because no event can be written if there is no free space at all."""
    run = make(small_disk / "run")
    filler = fill(small_disk, leave)
    for _ in range(2):
        with runs.trainer(run) as process:
            events = list(runs.events(process))
            assert process.wait() == EXIT_CODE
        assert isinstance(events[-1], Broke) and events[-1].errno == errno.ENOSPC
    filler.unlink()
    with runs.trainer(run) as process:
        *_, last = runs.events(process)
        assert isinstance(last, Done) and process.wait() == 0
    assert runs.digest(run) == undisturbed


def test_safetensors_names_the_error_of_the_operating_system(small_disk: Path) -> None:
    """If this test fails, safetensors has changed its messages, and `disk_errors` must be adapted."""
    with pytest.raises(SafetensorError, match=r"\(os error 28\)"):
        safetensors.torch.save_file({"large": torch.zeros(8_000_000)}, small_disk / "a.safetensors")
