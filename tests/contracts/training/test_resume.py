"""After any number of kills, the trained weights are bit-identical to those of an uninterrupted run."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from app.wire.trainer import CheckpointSaved, Done, Metrics, Note, Stopped, TrainEvent, TrainFailed
from tests.training import runs

pytestmark = pytest.mark.long

SMALL = {"width": 16, "layers": 1, "eval_every": 40}
CASES = {
    # enough validation rows to choose a checkpoint, so that the calibration is cross-fitted
    "lstm-classification": ("lstm", "rows.csv", runs.table(600), {**SMALL, "max_steps": 240, "batch_size": 12}),
    "transformer-classification": (
        "transformer",
        "rows.csv",
        runs.table(),
        {**SMALL, "max_steps": 240, "batch_size": 12, "accumulation": 2, "dropout": 0.2},
    ),
    "gru-plateau": (
        "gru",
        "rows.csv",
        runs.table(600),
        {**SMALL, "max_steps": 400, "eval_every": 20, "schedule": "plateau", "patience": 2, "optimizer": "muon"},
    ),
    "linear": ("linear", "rows.csv", runs.table(), {"eval_every": 40, "max_steps": 240, "batch_size": 12}),
    "lstm-generation": (
        "lstm",
        "book.txt",
        runs.book(),
        {**SMALL, "max_steps": 240, "dropout": 0.2, "context_length": 32, "batch_size": 8, "precision": "bfloat16"},
    ),
    "transformer-generation": (
        "transformer",
        "book.txt",
        runs.book(),
        {**SMALL, "max_steps": 240, "context_length": 32, "batch_size": 4, "precision": "float32"},
    ),
    "adapter": (
        "base",
        "rows.csv",
        runs.table(),
        {"eval_every": 40, "max_steps": 200, "batch_size": 12, "lora": {"r": 4, "dropout": 0.1}},
    ),
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint to fine-tune."""
    run = runs.make(tmp_path_factory.mktemp("base"), "rows.csv", runs.table(), "transformer",
                    training={"width": 16, "layers": 1, "max_steps": 4})  # fmt: skip
    assert isinstance(runs.train(run)[-1], Done)
    return run / "checkpoint"


def key(event: TrainEvent) -> tuple[str, int] | None:
    if isinstance(event, (Metrics, CheckpointSaved)):
        return type(event).__name__, event.step
    return None


def until_killed(run: Path, at_step: int) -> tuple[list[TrainEvent], bool]:
    """Run the program and kill it with -9 when it reports a step. Returns its events, and whether it was killed."""
    heard = []
    with runs.trainer(run, "--resume-every", "0.05") as process:
        for event in runs.events(process):
            heard.append(event)
            if isinstance(event, Metrics) and event.step >= at_step:
                os.killpg(process.pid, signal.SIGKILL)
        return heard, process.wait() == -signal.SIGKILL


def calibration_of(run: Path) -> bytes:
    """The calibration of the version, or an empty string for generation, which has none."""
    path = run / "checkpoint" / "calibration.json"
    return path.read_bytes() if path.exists() else b""


@pytest.mark.parametrize("case", CASES)
def test_weights_survive_kills(case: str, tmp_path: Path, base: Path) -> None:
    model, name, content, training = CASES[case]
    whole, killed = (runs.make(tmp_path / run, name, content, model, training=training) for run in ("whole", "killed"))
    for run in (whole, killed) if model == "base" else ():
        shutil.copytree(base, run / "base")
    expected = runs.train(whole)
    assert isinstance(expected[-1], Done)

    generator, heard, kills = random.Random(case), [], 0
    for at_step in sorted(generator.sample(range(4, 160, 4), 2)):
        events, was_killed = until_killed(killed, at_step)
        heard += events
        kills += was_killed
    last, was_killed = until_killed(killed, 10**9)
    heard += last

    assert kills >= 1 and not was_killed
    assert isinstance(last[-1], Done)
    assert runs.digest(killed) == runs.digest(whole)
    assert calibration_of(killed) == calibration_of(whole)
    assert (killed / "results.csv").read_bytes() == (whole / "results.csv").read_bytes()
    assert last[-1].metrics == expected[-1].metrics
    assert {key(e) for e in heard} == {key(e) for e in expected}


def has_low_priority(pid: int) -> bool:
    session = Path(f"/proc/{pid}/autogroup")  # Linux shares cores among sessions first
    return os.getpriority(os.PRIO_PROCESS, pid) >= 10 and (
        not session.exists() or session.read_text().endswith("nice 10\n")
    )


def test_a_stop_saves_and_the_next_attempt_continues(tmp_path: Path) -> None:
    model, name, content, training = CASES["lstm-classification"]
    training = training | {"max_steps": 1600}  # long enough that the stop comes before its end
    whole = runs.make(tmp_path / "whole", name, content, model, training=training)
    runs.train(whole)

    run = runs.make(tmp_path / "stopped", name, content, model, training=training)
    with runs.trainer(run, "--lease-seconds", "60") as process:
        heard = []
        for event in runs.events(process):
            heard.append(event)
            if isinstance(event, Metrics) and not any(isinstance(earlier, Metrics) for earlier in heard[:-1]):
                assert has_low_priority(process.pid)
                process.terminate()
        assert process.wait() == 0
    assert isinstance(heard[-1], Stopped) and heard[-1].step > 0
    state = json.loads((max((run / "resume").glob("step-*")) / "state.json").read_text())["state"]
    assert state["step"] == heard[-1].step

    events = runs.train(run)
    assert isinstance(events[-1], Done)
    assert min(e.step for e in events if isinstance(e, Metrics)) >= heard[-1].step
    assert runs.digest(run) == runs.digest(whole)


def test_a_stop_before_the_first_step(tmp_path: Path) -> None:
    run = runs.make(tmp_path / "run", "rows.csv", runs.table(), training={**SMALL, "max_steps": 5})
    assert runs.train(run, stopping=lambda: True)[-1] == Stopped(0)
    assert isinstance(runs.train(run)[-1], Done)


def test_a_stop_while_the_data_is_read(tmp_path: Path) -> None:
    run = runs.make(tmp_path / "run", "rows.csv", runs.table(200), training={**SMALL, "max_steps": 5})
    asked = iter([False] * 300 + [True] * 9)  # while the file is read for the second time
    assert runs.train(run, stopping=lambda: next(asked))[-1] == Stopped(0)
    assert next(asked) and not (run / "prepared").exists()
    assert isinstance(runs.train(run)[-1], Done)


def test_a_finished_run_reports_done_again(tmp_path: Path) -> None:
    run = runs.make(tmp_path / "run", "rows.csv", runs.table(), training={**SMALL, "max_steps": 5})
    first = runs.train(run)[-1]
    changed = (run / "checkpoint" / "model.safetensors").stat().st_mtime_ns
    assert runs.train(run) == [first]
    assert (run / "checkpoint" / "model.safetensors").stat().st_mtime_ns == changed


def test_other_data_is_refused(tmp_path: Path) -> None:
    run = runs.make(tmp_path / "run", "rows.csv", runs.table(), training={**SMALL, "max_steps": 5})
    runs.train(run)
    (run / "done.json").unlink()
    (run / "inputs" / "rows.csv").write_text(runs.table(241))
    last = runs.train(run)[-1]
    assert isinstance(last, TrainFailed)
    assert (last.code, "data changed" in last.message) == ("resume_mismatch", True)


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A run directory with resume points at steps 80 and 81, and the digest of the same run without interruption."""
    folder = tmp_path_factory.mktemp("interrupted")
    model, name, content, training = CASES["transformer-classification"]
    training = training | {"max_steps": 120}
    whole = runs.make(folder / "whole", name, content, model, training=training)
    assert isinstance(runs.train(whole)[-1], Done)
    run = runs.make(folder / "run", name, content, model, training=training)
    saved = run / "resume" / "step-000000080"
    assert runs.train(run, stopping=saved.exists)[-1] == Stopped(81)
    assert sorted(point.name for point in (run / "resume").iterdir()) == ["step-000000080", "step-000000081"]
    return run, runs.digest(whole)


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-5] ^= 0x40
    path.write_bytes(content)


@pytest.mark.parametrize("file", ["state.json", "state.safetensors"])
@pytest.mark.parametrize("damage", [truncate, flip_a_byte, os.unlink])
@pytest.mark.parametrize(
    ("damaged", "resumed"), [({81}, 80), ({81, 80}, None)], ids=["the newest is damaged", "all are damaged"]
)
def test_training_continues_from_the_newest_point_that_can_be_read(
    damaged: set[int],
    resumed: int | None,
    damage: Callable[[Path], None],
    file: str,
    interrupted: tuple[Path, str],
    tmp_path: Path,
) -> None:
    original, expected = interrupted
    run = tmp_path / "run"
    shutil.copytree(original, run)
    for step in damaged:
        damage(run / "resume" / f"step-{step:09d}" / file)
    events = runs.train(run)
    assert isinstance(events[-1], Done)
    assert runs.digest(run) == expected
    notes = [event for event in events if isinstance(event, Note)]
    warnings = {note.step: note for note in notes if note.kind == "resume_point_damaged"}
    assert warnings.keys() == damaged and {note.level for note in warnings.values()} == {"warn"}
    begin = f"from step {resumed}" if resumed else "from the beginning"
    assert all(file in note.message and begin in note.message for note in warnings.values())
    assert [note.step for note in notes if note.kind == "resumed"] == ([resumed] if resumed else [])
    # The damaged points are gone, and two whole ones are kept again.
    assert sorted(point.name for point in (run / "resume").iterdir()) == ["step-000000080", "step-000000120"]
