"""An auto job prepares its data and its baseline once for all of its trials on the same machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from app.runs.run_directory import RunDirectory
from app.wire.trainer import Done, Note, Planned, TrainSpec
from tests.training import runs


def plan(run: Path, **training: Any) -> tuple[Planned, dict[str, str]]:
    """The plan of an auto job for a small table, and the messages of its notes by kind."""
    events = runs.train(runs.make(run, "rows.csv", runs.table(), "auto", training=training))
    assert isinstance(events[-1], Planned), events
    return events[-1], {event.kind: event.message for event in events if isinstance(event, Note)}


def train(run: Path, planned: Planned, model: str, shared: Path | None) -> tuple[str, dict[str, Any]]:
    """Train a trial. Returns the digest of the weights, and the metrics."""
    [trial] = [trial for trial in planned.trials if trial.model == model]
    runs.make(run, "rows.csv", runs.table(), model)
    spec = msgspec.json.decode((run / "run.json").read_bytes(), type=TrainSpec)
    (run / "run.json").write_bytes(msgspec.json.encode(msgspec.structs.replace(spec, training=trial.training)))
    if shared is not None:
        RunDirectory(run.parent, run.name).share(RunDirectory(shared.parent, shared.name))
    done = runs.train(run)[-1]
    assert isinstance(done, Done), done
    return runs.digest(run), done.metrics


def test_a_trial_with_shared_data_has_the_same_weights_and_metrics(tmp_path: Path) -> None:
    parent = tmp_path / "parent"
    planned, messages = plan(parent, baseline=True)
    assert "linear SVM" in messages["baseline"] and "2 trials" in messages["plan"]
    own = train(tmp_path / "own", planned, "linear", None)
    assert train(tmp_path / "shared", planned, "linear", parent) == own
    for name in ("prepared", "baseline"):
        for path in (parent / name).iterdir():
            assert (tmp_path / "shared" / name / path.name).samefile(path)


def test_with_a_time_limit_each_trial_fits_its_own_baseline(tmp_path: Path) -> None:
    _, messages = plan(tmp_path / "limited", baseline=True, max_seconds=5.0)
    assert "plan" in messages and "baseline" not in messages
    assert not (tmp_path / "limited" / "baseline").exists()


def test_a_request_can_turn_the_baseline_off(tmp_path: Path) -> None:
    _, messages = plan(tmp_path / "without", baseline=False)
    assert "plan" in messages and "baseline" not in messages
