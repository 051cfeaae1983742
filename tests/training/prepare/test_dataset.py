"""Prepared data lies on disk and is mapped; what was made on the way is gone."""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from app.tokenization.tokenizer import Tokenizer
from app.training.prepare import dataset
from app.training.prepare.dataset import Dataset, Facts, Rows, Stream
from tests.training import runs
from tests.training.loops import ready


def on_disk(array: NDArray[Any]) -> bool:
    base: Any = array
    while isinstance(base, np.ndarray):
        base = base.base
    return isinstance(base, mmap.mmap)


@pytest.mark.parametrize(
    ("name", "content", "spec"),
    [
        ("a.csv", runs.table(60), {}),
        ("a.csv", runs.table(60).replace("label", "value").replace("good", "1").replace("bad", "2"), {}),
        ("a.csv", runs.table(60), {"task": "multilabel"}),
        ("a.csv", runs.table(60), {"task": "generation"}),
        ("a.txt", runs.book(60), {}),
        ("a.csv", "series,x,label\n" + "".join(f"{n // 3},{n},{'ab'[n // 3 % 2]}\n" for n in range(60)), {}),
        ("a.jsonl", '{"prompt": "a", "completion": "b"}\n{"prompt": "c", "completion": "d"}\n' * 9, {}),
    ],
)
def test_large_arrays_are_mapped_and_equal_files_come_twice(
    name: str, content: str, spec: dict[str, Any], tmp_path: Path
) -> None:
    one, two = (ready(runs.make(tmp_path / side, name, content, **spec))[1] for side in "ab")
    again = dataset.load(tmp_path / "a" / "prepared")
    for part, other, loaded in zip(one.parts.values(), two.parts.values(), again.parts.values(), strict=True):
        assert on_disk(part.flat if isinstance(part, Rows) else part.ids_T)
        for field in type(part).__slots__:
            assert np.array_equal(getattr(part, field), getattr(other, field)), field
            assert np.array_equal(getattr(part, field), getattr(loaded, field)), field
    files = {path.name: path for path in (tmp_path / "a" / "prepared").iterdir()}
    assert "steps.bin" not in files and not (tmp_path / "a" / ".preparing").exists()
    for file, path in files.items():
        assert path.read_bytes() == (tmp_path / "b" / "prepared" / file).read_bytes(), file


def test_a_text_without_a_prompt_begins_where_another_has_ended(tmp_path: Path) -> None:
    rows = '{"prompt": "", "completion": "ab", "split": "train"}\n{"prompt": "c", "completion": "d", "split": "val"}\n'
    _, made = ready(runs.make(tmp_path, "a.jsonl", rows, training={"tokenizer": "byte"}))
    assert made.tokenizer is not None and isinstance(made.train, Rows) and isinstance(made.validation, Rows)
    tokenizer = Tokenizer.load(made.tokenizer)
    assert made.train.flat.tolist() == [tokenizer.eos_id, *tokenizer.encode("ab"), tokenizer.eos_id]
    assert made.train.learned.tolist() == [0, 1, 1, 1]
    assert made.validation.flat.tolist() == [*tokenizer.encode("cd"), tokenizer.eos_id]
    assert made.validation.learned.tolist() == [0, 1, 1]


def test_what_is_not_on_disk_yet_is_put_there(tmp_path: Path) -> None:
    (tmp_path / "aside").mkdir()
    (tmp_path / "aside" / "left over").touch()
    stream = Stream(np.arange(5, dtype=np.int32), 7, 2)
    made = dataset.save(
        tmp_path / "made", tmp_path / "aside", Dataset(Facts("t", "i", "s"), stream, stream, None, None)
    )
    assert isinstance(made.train, Stream) and made.train.ids_T.tolist() == [0, 1, 2, 3, 4]
    assert (made.train.characters, made.train.context, made.test, made.tokenizer) == (7, 2, None, None)
    assert not (tmp_path / "made" / "left over").exists()


def test_a_feature_that_changes_is_scaled_however_small_it_is(tmp_path: Path) -> None:
    """And one that never changes, but for what its rounding leaves, is not blown up."""
    draw = np.random.default_rng(1)
    content = "series,small,tiny,same,zero,label\n" + "".join(
        f"{n},{draw.normal(3e-10, 1e-10)},{draw.normal(0, 1e-30)},123456.789,0,{'ab'[n % 2]}\n" for n in range(80)
    )
    made = ready(runs.make(tmp_path, "a.csv", content))[1]
    assert isinstance(made.train, Rows) and made.facts.normalization is not None
    assert made.facts.normalization["std"][2:] == [1.0, 1.0]
    assert made.train.flat.std(0)[:2] == pytest.approx([1.0, 1.0], rel=0.01)
    assert np.abs(made.train.flat[:, 2:]).max() < 0.01
