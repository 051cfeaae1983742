"""Imports of plain PyTorch weights: the same probabilities as in PyTorch, a question, or an error that names the
part."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from app.cli.import_weights import read_fields, read_labels
from app.errors import InvalidRequest
from app.importing.convert import convert
from app.importing.pytorch.tensors import ForeignFileInvalid
from app.importing.questions import ImportQuestion
from app.tokenization.tokenizer import Tokenizer
from tests.importing.programs import imported

CASES = Path(__file__).parent


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, list[str]]]:
    """The folder of the weights, and the import options of each case."""
    folder = tmp_path_factory.mktemp("weights")
    program = [sys.executable, str(CASES / "make_weights.py"), str(folder)]
    done = subprocess.run(program, check=True, capture_output=True, text=True)
    lines = [shlex.split(line) for line in done.stdout.splitlines()]
    return folder, {line[line.index("--name") + 1]: line[line.index("--name") + 2 :] for line in lines}


def bring(made: tuple[Path, dict[str, list[str]]], name: str, out: Path, *more: str) -> Any:
    """Import a case with its options and more answers. Returns the version's output in the format of the case."""
    folder, options = made
    given = iter(options[name])
    values: dict[str, Any] = {}
    own, settings = {}, [*more]
    for option in given:
        if option == "--set":
            settings.append(next(given))
        elif option == "--labels":
            text = next(given)
            values["labels"] = read_labels(str(folder / text) if text.endswith(".json") else text)
        elif option == "--vocabulary":
            values["vocabulary"] = folder / next(given)
        elif option in ("--task", "--heads"):
            own[option.removeprefix("--")] = next(given)
    values["fields"] = read_fields(settings, own)
    convert(folder / f"{name}.pt", out, allow_pickle_tensors=True, **values)
    given_input = json.loads((folder / f"{name}.json").read_text())["input"]
    if isinstance(given_input, str):
        steps = torch.tensor([Tokenizer.load(out).encode(given_input)])
    else:
        steps = torch.tensor(given_input)
    with torch.no_grad():
        logits = imported(out)(steps, torch.tensor([steps.shape[1]]))[0]
    return logits if len(logits) == 1 else logits.softmax(0)


def right(made: tuple[Path, Any], name: str) -> torch.Tensor:
    return torch.tensor(json.loads((made[0] / f"{name}.json").read_text())["right"])


@pytest.mark.parametrize(
    ("name", "asked", "answers"),
    [
        ("c40_relu_in", {"input_activation"}, ["input_activation=relu"]),
        ("c42_forecast", {"head_activation"}, ["head_activation=relu"]),
        ("c45_shifted", {"first_id"}, ["first_id=2"]),
        (
            "c46_one_layer",
            {"positions", "activation", "norm_first"},
            ["positions=none", "activation=relu", "norm_first=no"],
        ),
    ],
)
def test_what_the_options_leave_open_is_asked(
    made: Any, name: str, asked: set[str], answers: list[str], tmp_path: Path
) -> None:
    with pytest.raises(ImportQuestion) as caught:
        bring(made, name, tmp_path / "asked")
    assert {question.field for question in caught.value.questions} == asked
    torch.testing.assert_close(bring(made, name, tmp_path / "out", *answers), right(made, name), atol=1e-5, rtol=0)


def test_weights_that_are_not_numbers_are_refused(made: Any, tmp_path: Path) -> None:
    with pytest.raises(ForeignFileInvalid, match=r"fc\.weight \(3, 6\): 1 NaN"):
        bring(made, "c43_nan", tmp_path / "out")


def test_the_labels_of_torchserve(made: Any, tmp_path: Path) -> None:
    name = "c48_index_to_name"
    torch.testing.assert_close(bring(made, name, tmp_path / "out"), right(made, name), atol=1e-5, rtol=0)
    assert json.loads((tmp_path / "out" / "labels.json").read_text()) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('{"0": ["n01", "cat"], "1": ["n02", "dog"]}', ["cat", "dog"]),
        ('{"dog": 1, "cat": 0}', ["cat", "dog"]),
        ('\ufeff["cat", "dog"]', ["cat", "dog"]),
        ('{"1": "cat", "2": "dog"}', None),
        ('{"cat": 0, "dog": 0}', None),
        ('{"0": 0.5}', None),
        ('{"0": "cat"', None),
        ("{}", None),
    ],
)
def test_labels_in_json(content: str, expected: list[str] | None, tmp_path: Path) -> None:
    (tmp_path / "labels.json").write_text(content, encoding="utf-8")
    if expected is None:
        with pytest.raises(InvalidRequest, match="labels"):
            read_labels(str(tmp_path / "labels.json"))
    else:
        assert read_labels(str(tmp_path / "labels.json")) == expected
