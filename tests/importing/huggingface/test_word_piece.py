"""A tokenizer from a vocab.txt has the same token ids as in transformers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from app.importing.pytorch.tensors import ForeignFileInvalid
from tests.importing.huggingface.directories import bring, copied, edit, expected, loaded, outputs


def without_tokenizer(folder: Path) -> Path:
    source = copied("bert", folder)
    words = json.loads((source / "tokenizer.json").read_text())["model"]["vocab"]
    (source / "tokenizer.json").unlink()
    (source / "vocab.txt").write_text("\n".join(sorted(words, key=words.__getitem__)) + "\n", encoding="utf-8")
    edit(source / "tokenizer_config.json", tokenizer_class="BertTokenizer")
    return source


def test_ids_and_outputs(tmp_path: Path) -> None:
    bring(without_tokenizer(tmp_path), tmp_path / "out")
    wanted, (_, tokenizer) = expected("bert"), loaded(tmp_path / "out")
    ids = tokenizer.encode_batch(wanted["texts"])
    assert ids + [tokenizer.encode_pair(*pair) for pair in wanted["pairs"]] == wanted["ids"]
    torch.testing.assert_close(
        outputs(tmp_path / "out", ids), torch.tensor(wanted["outputs"][: len(ids)]), atol=1e-5, rtol=0
    )


def test_capital_letters_are_kept_if_the_settings_say_so(tmp_path: Path) -> None:
    source = without_tokenizer(tmp_path)
    edit(source / "tokenizer_config.json", do_lower_case=False)
    bring(source, tmp_path / "out")
    _, tokenizer = loaded(tmp_path / "out")
    assert tokenizer.encode("HELLO") != tokenizer.encode("hello")


def test_other_vocabularies_are_refused(tmp_path: Path) -> None:
    source = without_tokenizer(tmp_path)
    edit(source / "tokenizer_config.json", tokenizer_class="BertJapaneseTokenizer")
    with pytest.raises(ForeignFileInvalid, match="tokenizer_class"):
        bring(source, tmp_path / "out")
    edit(source / "tokenizer_config.json", tokenizer_class=None)
    (source / "vocab.txt").write_text("[UNK]\na\n")
    with pytest.raises(ForeignFileInvalid, match="each token once"):
        bring(source, tmp_path / "out")
