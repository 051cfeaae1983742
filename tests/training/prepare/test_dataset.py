"""Prepared data is stored on disk and mapped into memory; temporary files are deleted."""

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
    """Whether the array is mapped from a file."""
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
def test_arrays_are_mapped_and_two_preparations_write_equal_files(
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


def test_a_completion_without_a_prompt_follows_an_end_token(tmp_path: Path) -> None:
    rows = '{"prompt": "", "completion": "ab", "split": "train"}\n{"prompt": "c", "completion": "d", "split": "val"}\n'
    _, saved = ready(runs.make(tmp_path, "a.jsonl", rows, training={"tokenizer": "byte"}))
    assert saved.tokenizer is not None and isinstance(saved.train, Rows) and isinstance(saved.validation, Rows)
    tokenizer = Tokenizer.load(saved.tokenizer)
    assert saved.train.flat.tolist() == [tokenizer.eos_id, *tokenizer.encode("ab"), tokenizer.eos_id]
    assert saved.train.learned.tolist() == [0, 1, 1, 1]
    assert saved.validation.flat.tolist() == [*tokenizer.encode("cd"), tokenizer.eos_id]
    assert saved.validation.learned.tolist() == [0, 1, 1]


def test_save_writes_arrays_that_are_only_in_memory(tmp_path: Path) -> None:
    (tmp_path / "staging").mkdir()
    (tmp_path / "staging" / "left over").touch()
    stream = Stream(np.arange(5, dtype=np.int32), 7, 2)
    saved = dataset.save(
        tmp_path / "prepared", tmp_path / "staging", Dataset(Facts("t", "i", "s"), stream, stream, None, None)
    )
    assert isinstance(saved.train, Stream) and saved.train.ids_T.tolist() == [0, 1, 2, 3, 4]
    assert (saved.train.characters, saved.train.context, saved.test, saved.tokenizer) == (7, 2, None, None)
    assert not (tmp_path / "prepared" / "left over").exists()


def test_a_varying_feature_is_scaled_however_small_it_is(tmp_path: Path) -> None:
    """A constant feature is not scaled, because scaling would magnify its rounding errors."""
    draw = np.random.default_rng(1)
    content = "series,small,tiny,same,zero,label\n" + "".join(
        f"{n},{draw.normal(3e-10, 1e-10)},{draw.normal(0, 1e-30)},123456.789,0,{'ab'[n % 2]}\n" for n in range(80)
    )
    saved = ready(runs.make(tmp_path, "a.csv", content))[1]
    assert isinstance(saved.train, Rows) and saved.facts.normalization is not None
    assert saved.facts.normalization["std"][2:] == [1.0, 1.0]
    assert saved.train.flat.std(0)[:2] == pytest.approx([1.0, 1.0], rel=0.01)
    assert np.abs(saved.train.flat[:, 2:]).max() < 0.01
