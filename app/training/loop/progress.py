"""Resume points: the complete state of a training run between two steps, stored in the run directory.

A resume point is written to a temporary directory, synced to disk and then renamed, so that a partial one is never
visible.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from app import disk_errors
from app.checkpoint import directory as checkpoint
from app.training.failures import TrainingFailure

KEPT = 2  # if the newest point is damaged, the run continues from the older one
_STATE, _TENSORS = "state.json", "state.safetensors"
_UNREADABLE = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EIO)  # errors caused by the file, not by the machine


@dataclass(slots=True)
class Progress:
    """Counters and sums of a training run between two steps.

    `elapsed` is the training time in seconds, over all attempts. `loss`, `weight`, `correct` and `count` are sums since
    the last report. `best_step` and `best_metrics` describe the kept weights, and `best_value` is the best score so
    far.
    """

    step: int = 0
    elapsed: float = 0.0
    evaluating: float = 0.0  # the part of `elapsed` that was spent on evaluations
    trained_tokens: int = 0
    evaluated: int = -1  # the step of the last evaluation
    best_step: int = -1
    best_value: float | None = None
    best_metrics: dict[str, float] = field(default_factory=dict)
    evaluations: int = 0
    without_gain: int = 0  # the number of evaluations since the best one
    cooldown_start: int = -1  # the step at which the learning rate began to fall because of a plateau; -1 before that
    loss: float = 0.0
    weight: float = 0.0
    correct: int = 0
    count: int = 0
    bad_steps: int = 0  # the number of consecutive steps with a loss above the ceiling
    history: list[dict[str, float]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class ResumePoint:
    """The state from which a run continues: its counters and its named tensors (weights, averages, moments)."""

    progress: Progress
    tensors: dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class DamagedPoint:
    """A resume point that cannot be read, with the reason."""

    directory: Path
    reason: str

    @property
    def step(self) -> int:
        """The step in the directory's name, or 0 if the name contains none."""
        name = self.directory.name.removeprefix("step-")
        return int(name) if name.isdecimal() else 0


class _Damage(Exception):
    """The files of a resume point are missing or unreadable, or differ from those that were written."""


def save(directory: Path, progress: Progress, tensors: dict[str, Tensor], digests: dict[str, str]) -> None:
    """Write the resume point of `progress.step`, and delete all points except the newest two."""
    directory.mkdir(exist_ok=True)
    point, temporary, replaced = directory / f"step-{progress.step:09d}", directory / ".tmp", directory / ".old"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    save_file({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, temporary / _TENSORS)
    sync(temporary / _TENSORS)
    content = {"state": asdict(progress), "digests": digests}
    checkpoint.write_json(temporary / _STATE, content | {"sha256": _checksum(content, temporary / _TENSORS)})
    if point.exists():  # the step is saved again after its evaluation
        shutil.rmtree(replaced, ignore_errors=True)
        os.rename(point, replaced)
    os.rename(temporary, point)
    checkpoint.sync_directory(directory)
    for old in [replaced, *_points(directory)[KEPT:]]:
        shutil.rmtree(old, ignore_errors=True)


def load(
    directory: Path, digests: dict[str, str], device: str = "cpu"
) -> tuple[ResumePoint | None, list[DamagedPoint]]:
    """Return the newest readable point (or None), and all newer points, which are damaged.

    A step is a pure function of the previous state, so a run that continues from an older point ends with the same
    weights. Raises TrainingFailure `resume_mismatch` if the readable point belongs to different data, or to another
    tokenizer or request.
    """
    damaged: list[DamagedPoint] = []
    for place in _points(directory):
        try:
            content = _content(place)
            tensors = load_file(place / _TENSORS, device=device)
        except _Damage as damage:
            damaged.append(DamagedPoint(place, str(damage)))
        except SafetensorError as error:  # only points that were written without a checksum can have this fault
            if (cause := disk_errors.os_error(error)) is not None and cause.errno not in _UNREADABLE:
                raise
            damaged.append(DamagedPoint(place, f"{_TENSORS} is not a safetensors file"))
        else:
            _check_digests(content, digests)
            return ResumePoint(Progress(**content["state"]), tensors), damaged
    return None, damaged


def discard(point: DamagedPoint) -> None:
    """Delete a damaged point, so that it is not counted as one of the points to keep."""
    shutil.rmtree(point.directory, ignore_errors=True)


def newest(directory: Path) -> list[str | int]:
    """Return the name and the modification time of the newest resume point, or an empty list if there is none."""
    return [part for place in _points(directory)[:1] for part in (place.name, place.stat().st_mtime_ns)]


def _content(place: Path) -> dict[str, Any]:
    """Return the content of state.json. Raises _Damage if state.json or the tensors are damaged or missing."""
    try:
        content: dict[str, Any] = json.loads((place / _STATE).read_bytes())
        written = content.pop("sha256", None)
        Progress(**content["state"]), dict(content["digests"])
        # Points of earlier releases have no checksum.
        if written not in (None, _checksum(content, place / _TENSORS)):
            raise _Damage(f"the checksum of {_STATE} and {_TENSORS} does not match")
    except OSError as error:
        if error.errno not in _UNREADABLE:
            raise
        raise _Damage(f"{Path(error.filename or _TENSORS).name} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise _Damage(f"{_STATE} is not valid") from None
    return content


def _checksum(content: dict[str, Any], tensors: Path) -> str:
    """Return the SHA-256 of `content` and the tensor file.

    The hash detects flipped bits, which would silently change the weights.
    """
    head = checkpoint.encode(content)
    with tensors.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.sha256(head)).hexdigest()


def _check_digests(content: dict[str, Any], digests: dict[str, str]) -> None:
    for name, value in digests.items():
        if content["digests"].get(name) != value:
            step = content["state"]["step"]
            message = f"the resume point at step {step} belongs to another {name}; start a new job"
            raise TrainingFailure("resume_mismatch", message)


def _points(directory: Path) -> list[Path]:
    """Return the directories of all points, newest first. The old directory of an unfinished replacement comes last."""
    replaced = [place for place in [directory / ".old"] if (place / _STATE).exists()]
    return sorted(directory.glob("step-*"), reverse=True) + replaced


def sync(path: Path) -> None:
    """Flush a file to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
