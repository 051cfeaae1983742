"""An evaluation and a fine-tuning warn if the features of a table have another order or other names than before."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import pytest

from app.training.run.evaluation import EvaluationSession
from app.training.run.preparation import Machine
from app.wire.trainer import Done, Evaluated, EvaluationSpec, Note
from app.wire.training_options import Columns
from tests.training import runs

HOUSES = {
    name: [start + scale * (n * step % 41) for n in range(80)]
    for name, start, scale, step in (("rooms", 1, 1, 7), ("area", 50, 3, 11), ("year", 1950, 1, 13))
}
OPTIONS = {"max_steps": 4, "batch_size": 16, "width": 16, "layers": 1}


def houses(*names: str, **renamed: str) -> str:
    """A table of houses with its feature columns in the given order."""
    prices = [9 * area + rooms for rooms, area in zip(HOUSES["rooms"], HOUSES["area"], strict=True)]
    rows = zip(*(HOUSES[name] for name in names), prices, strict=True)
    header = [*(renamed.get(name, name) for name in names), "price"]
    return "\n".join(",".join(map(str, row)) for row in (header, *rows))


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    table = houses("rooms", "area", "year")
    run = runs.make(tmp_path_factory.mktemp("v"), "h.csv", table, "gru", training=OPTIONS, columns={"value": "price"})
    assert isinstance(runs.train(run)[-1], Done)
    return run / "checkpoint"


def evaluation_warnings(run: Path, version: Path, table: str, **columns: str) -> tuple[dict[str, str], list[str]]:
    """The warnings of an evaluation by their kinds, and those in its report."""
    file = runs.put(run, "new.csv", table)
    shutil.copytree(version, run / "base")
    spec = EvaluationSpec("price:1", file, None, Columns(value="price", **columns))
    (run / "evaluation.json").write_bytes(msgspec.json.encode(spec))
    heard = runs.Heard()
    EvaluationSession(run, heard, lambda: False, Machine(threads=1, device="cpu")).attempt()
    last = heard.events[-1]
    assert isinstance(last, Evaluated), last
    kinds = [event.kind for event in heard.events if isinstance(event, Note)]
    assert kinds.count("other_features") <= 1
    return runs.notes(heard.events)[1], last.report["warnings"]


def test_an_evaluation_warns_about_features_in_another_order(version: Path, tmp_path: Path) -> None:
    turned = houses("area", "rooms", "year")
    warnings, reported = evaluation_warnings(tmp_path / "turned", version, turned)
    assert warnings["other_features"] == (
        "new.csv has the features 'area', 'rooms', 'year', but price:1 was trained with 'rooms', 'area', 'year', and "
        "features are matched by their order, not by their names; set columns.features to 'rooms,area,year', otherwise "
        "the predictions are wrong"
    )
    assert warnings["other_features"] in reported
    listed = evaluation_warnings(tmp_path / "listed", version, turned, features="rooms,area,year")
    assert "other_features" not in listed[0]


def test_an_evaluation_warns_about_features_with_other_names(version: Path, tmp_path: Path) -> None:
    warnings, _ = evaluation_warnings(tmp_path, version, houses("rooms", "area", "year", year="floor"))
    assert warnings["other_features"].endswith("check that these columns contain the same quantities in the same order")


@pytest.mark.parametrize("names", [("area", "rooms", "year"), ("rooms", "area", "year")])
def test_a_fine_tuning_warns_about_features_in_another_order(
    names: tuple[str, ...], version: Path, tmp_path: Path
) -> None:
    more = {"training": OPTIONS, "columns": {"value": "price"}}
    run = runs.make(tmp_path, "h.csv", houses(*names), "base", **more)
    shutil.copytree(version, run / "base")
    events = runs.train(run)
    assert isinstance(events[-1], Done)
    assert ("other_features" in runs.notes(events)[1]) is (names[0] == "area")
