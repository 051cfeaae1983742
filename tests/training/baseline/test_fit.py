from pathlib import Path

import numpy as np
import pytest

from app.tokenization import training
from app.training.baseline.fit import fit
from app.training.baseline.work import BaselineLimits
from app.training.prepare.dataset import Dataset, Facts, Rows, Stream


@pytest.mark.parametrize("shape", ["stream", "completions"])
def test_a_language_model_counts_as_many_characters_as_the_limit_allows(shape: str, tmp_path: Path) -> None:
    text = "".join(chr(0x4E00 + number * 37 % 400) for number in range(25_000))
    tokenizer = training.train(iter([text]), "byte", 300)  # three tokens per character
    tokenizer.save(tmp_path / "tokenizer.json")
    ids = np.asarray(tokenizer.encode(text), dtype=np.int32)

    def part(ids: np.ndarray) -> Rows | Stream:
        if shape == "stream":
            return Stream(ids, len(ids) // 3)
        learned = np.ones(len(ids), dtype=np.uint8)
        return Rows(ids, np.arange(0, len(ids) + 1, 300), np.zeros(0), learned, len(ids) // 3)

    facts = Facts("generation", "tokens", shape)
    dataset = Dataset(facts, part(ids), part(ids[:300]), None, tmp_path / "tokenizer.json")
    limits = BaselineLimits(work=0)
    assert fit(dataset, limits, 512).report["train"] == {"characters": limits.characters(8), "of": 25_000}
