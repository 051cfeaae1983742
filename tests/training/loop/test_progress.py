"""Resume points on disk: which points are kept, read and rejected."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest
import torch

from app.training.failures import TrainingFailure
from app.training.loop import progress
from app.training.loop.progress import Progress, discard, load, newest, save

DIGESTS = {"data": "1", "tokenizer": "2", "configuration": "3"}


def saved(directory: Path, *steps: int) -> Path:
    for step in steps:
        history = [{"step": step, "train_loss": 0.1 + step}]
        save(directory, Progress(step=step, history=history), {"weight": torch.full((3,), float(step))}, DIGESTS)
    return directory


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_the_newest_two_are_kept_and_the_newest_is_read(tmp_path: Path) -> None:
    points = saved(tmp_path / "resume", 5, 10, 15, 15)
    assert names(points) == ["step-000000010", "step-000000015"]
    point, damaged = load(points, DIGESTS)
    assert point is not None and damaged == []
    assert point.progress == Progress(step=15, history=[{"step": 15, "train_loss": 15.1}])
    assert point.tensors["weight"].tolist() == [15.0] * 3
    assert load(tmp_path / "none", DIGESTS) == (None, []) and newest(tmp_path / "none") == []


def test_a_damaged_point_is_named_and_an_older_one_is_read(tmp_path: Path) -> None:
    points = saved(tmp_path / "resume", 5, 10)
    (points / "step-000000010" / "state.json").write_bytes(b"[1]")
    point, (damaged,) = load(points, DIGESTS)
    assert point is not None and point.progress.step == 5
    assert (damaged.step, damaged.reason) == (10, "state.json is not valid")
    discard(damaged)
    assert names(saved(points, 15)) == ["step-000000005", "step-000000015"]  # two that can be read


def test_a_point_without_a_checksum_is_read(tmp_path: Path) -> None:
    """Releases up to 0.1.0 did not write checksums."""
    points = saved(tmp_path / "resume", 5)
    state = points / "step-000000005" / "state.json"
    content = json.loads(state.read_text())
    del content["sha256"]
    state.write_text(json.dumps(content))
    point, damaged = load(points, DIGESTS)
    assert point is not None and damaged == []
    (points / "step-000000005" / "state.safetensors").write_bytes(b"torn")
    point, (torn,) = load(points, DIGESTS)
    assert point is None and torn.reason == "state.safetensors is not a safetensors file"


def test_a_point_that_was_being_replaced_is_read_when_no_other_is_whole(tmp_path: Path) -> None:
    points = saved(tmp_path / "resume", 5)
    (points / "step-000000005").rename(points / ".old")
    point, _ = load(points, DIGESTS)
    assert point is not None and point.progress.step == 5


@pytest.mark.parametrize("name", DIGESTS)
def test_a_point_of_another_training_is_refused(name: str, tmp_path: Path) -> None:
    points = saved(tmp_path / "resume", 5)
    with pytest.raises(TrainingFailure, match=f"the resume point at step 5 belongs to another {name}") as refusal:
        load(points, DIGESTS | {name: "other"})
    assert refusal.value.code == "resume_mismatch"


def test_an_error_of_the_machine_is_not_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    points = saved(tmp_path / "resume", 5)

    def fail(*_: object) -> str:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(progress, "_checksum", fail)
    with pytest.raises(OSError, match="Too many open files"):
        load(points, DIGESTS)
