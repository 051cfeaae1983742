"""Resume points: all that a training is between two steps, whole or absent.

Written aside, synced, renamed; the newest whole one counts. A point of other data, another tokenizer or another
request is refused. Knows tensors and JSON; knows no loop.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from app.checkpoint import directory as checkpoint
from app.training.failures import TrainingFailure

KEPT = 2


@dataclass(slots=True)
class Progress:
    """Counters and sums between two steps. `elapsed`: seconds since the first step, over all attempts.

    `loss`, `weight`, `correct`, `count`: summed since the last report. `best_*`: of the best evaluation so far.
    """

    step: int = 0
    elapsed: float = 0.0
    evaluating: float = 0.0  # the part of it that went into evaluations
    trained_tokens: int = 0
    evaluated: int = -1  # the step of the last evaluation
    best_step: int = -1
    best_value: float | None = None
    best_metrics: dict[str, float] = field(default_factory=dict)
    evaluations: int = 0
    without_gain: int = 0
    loss: float = 0.0
    weight: float = 0.0
    correct: int = 0
    count: int = 0
    bad_steps: int = 0
    history: list[dict[str, float]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Point:
    state: Progress
    tensors: dict[str, Tensor]


def save(directory: Path, state: Progress, tensors: dict[str, Tensor], digests: dict[str, str]) -> None:
    directory.mkdir(exist_ok=True)
    place, aside = directory / f"step-{state.step:09d}", directory / ".tmp"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    save_file({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, aside / "state.safetensors")
    sync(aside / "state.safetensors")
    checkpoint.write_json(aside / "state.json", {"state": asdict(state), "digests": digests})
    if place.exists():  # the same step again, an evaluation later
        shutil.rmtree(directory / ".old", ignore_errors=True)
        os.rename(place, directory / ".old")
    os.rename(aside, place)
    checkpoint.sync_directory(directory)
    for old in [directory / ".old", *_points(directory)[KEPT:]]:
        shutil.rmtree(old, ignore_errors=True)


def load(directory: Path, digests: dict[str, str], device: str = "cpu") -> Point | None:
    """The newest point, or None where there is none. Raises TrainingFailure `resume_mismatch` for another's."""
    for place in _points(directory):
        stored: dict[str, Any] = json.loads((place / "state.json").read_text())
        for name, value in digests.items():
            if stored["digests"].get(name) != value:
                raise TrainingFailure(
                    "resume_mismatch",
                    f"the resume point at step {stored['state']['step']} belongs to another {name}; start a new job",
                )
        return Point(Progress(**stored["state"]), load_file(place / "state.safetensors", device=device))
    return None


def newest(directory: Path) -> list[str | int]:
    """What tells the newest point from any that is saved later; nothing where there is none."""
    return [part for place in _points(directory)[:1] for part in (place.name, place.stat().st_mtime_ns)]


def _points(directory: Path) -> list[Path]:
    """Newest first. What is kept aside in the instant of an exchange counts as long as nothing else is there."""
    points = sorted(directory.glob("step-*"), reverse=True)
    return points or [place for place in [directory / ".old"] if (place / "state.json").exists()]


def sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
