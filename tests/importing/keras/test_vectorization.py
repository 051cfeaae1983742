"""A TextVectorization layer splits texts into the same ids after its import. Keras computed all expected numbers."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from app.errors import InvalidRequest
from app.importing.convert import convert
from app.importing.keras.layers import KerasLayer
from app.importing.keras.padding import ask_padding
from app.importing.questions import Answers, ImportQuestion
from app.tokenization.tokenizer import Tokenizer
from models import tasks
from tests.importing.keras.files import ANSWERS, unpack

LABELS = ["a", "b", "c"]


@torch.no_grad()
def test_texts_get_the_ids_and_probabilities_of_keras(tmp_path: Path) -> None:
    unpack(tmp_path)
    for name in ("adapted", "given", "plain", "chars", "strip"):
        folder = tmp_path / name
        config = convert(tmp_path / f"text-{name}.keras", folder, labels=LABELS).checkpoint.config
        network = tasks.build(config, initialised=False)
        assert isinstance(network, tasks.Classifier)
        network.load_state_dict(load_file(folder / "model.safetensors"))
        expected = json.loads((tmp_path / f"text-{name}.expected.json").read_text())
        for text, padded, probs in zip(expected["texts"], expected["ids"], expected["outputs"], strict=True):
            ids = Tokenizer.load(folder).encode(text)[: config.context_length]
            assert ids + [0] * (len(padded) - len(ids)) == padded
            ours = network.eval()(torch.tensor([ids]), torch.tensor([len(ids)])).softmax(-1)[0]
            torch.testing.assert_close(ours, torch.tensor(probs), atol=1e-5, rtol=0)


def changed(source: Path, without: str = "", mask_zero: bool = True, words: bytes = b"", **settings: Any) -> Path:
    """Write a copy with other settings or words of the layer, and without the files whose name ends with `without`."""
    target = source.with_name("changed.keras")
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "config.json":
                config = json.loads(content)
                config["config"]["layers"][1]["config"] |= settings
                config["config"]["layers"][2]["config"]["mask_zero"] = mask_zero
                content = json.dumps(config).encode()
            content = words if words and name.endswith("vocabulary.txt") else content
            if not without or not name.endswith(without):
                new.writestr(name, content)
    return target


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"output_mode": "tf_idf"}, "output_mode 'tf_idf'; it must be one of 'int'"),
        ({"ngrams": 2}, "ngrams 2; it must be one of None"),
        ({"standardize": {"class_name": "function", "config": "mine"}}, "that is a function or an object"),
        ({"without": "vocabulary.txt"}, "does not contain the words"),
        ({"vocabulary": ["a", "a"]}, "has a word twice"),
        ({"vocabulary": ["a"]}, "vocabulary_size of 15, but the file contains 3 words"),
        ({"words": b"\n[UNK]\na\xff"}, "not UTF-8"),
        ({"words": b"\n" * 2**20}, "more than 1048576 words"),
        ({"output_sequence_length": [6]}, "must have a positive integer or None as output_sequence_length"),
        ({"output_sequence_length": 6, "mask_zero": False}, "pads texts with zeros to 6 steps.*mask_zero=True"),
        (
            {"vocabulary": [f"w{n}" for n in range(30)], "vocabulary_size": 32},
            "ids up to 31.* has 20 rows",
        ),
    ],
)
def test_layers_that_cannot_be_reproduced(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    source = changed(unpack(tmp_path) / "text-adapted.keras", **changes)
    with pytest.raises(InvalidRequest, match=message):
        convert(source, tmp_path / "out", labels=LABELS)


def test_words_with_other_line_separators(tmp_path: Path) -> None:
    """Keras splits at whitespace that TensorFlow knows, so a word can contain separators such as U+2028."""
    words = ["", "[UNK]", "a\u2028b", "c"]
    source = unpack(tmp_path) / "text-adapted.keras"
    source = changed(source, words="\n".join(words).encode(), vocabulary_size=4)
    convert(source, tmp_path / "out", labels=LABELS)
    assert Tokenizer.load(tmp_path / "out").encode("c a\u2028b a") == [3, 2, 1]


def test_another_vocabulary_is_rejected(tmp_path: Path) -> None:
    source = unpack(tmp_path) / "text-adapted.keras"
    with pytest.raises(InvalidRequest, match="TextVectorization layer with its vocabulary"):
        convert(source, tmp_path / "out", labels=LABELS, vocabulary=tmp_path / "words.txt")


def test_a_layer_that_pads_batches(tmp_path: Path) -> None:
    """Without a length, the layer pads to the longest text of a batch, so texts that are read alone have no padding."""
    source = changed(unpack(tmp_path) / "text-adapted.keras", mask_zero=False)
    with pytest.raises(ImportQuestion, match=r"padding: .*pads all texts of a batch on the right.*one text at a time"):
        convert(source, tmp_path / "out", labels=LABELS)
    with pytest.raises(
        InvalidRequest, match=r"reads padding as if it were text; train it with Embedding\(…, mask_zero"
    ):
        convert(source, tmp_path / "out", labels=LABELS, fields={"padding": "right"})


def test_padding_that_the_pooling_reads() -> None:
    """GlobalMaxPooling1D ignores the mask, so the padding of the layer changes the result."""
    with pytest.raises(InvalidRequest, match=r"pads texts with zeros to 6 steps.*train it with GlobalAveragePooling1D"):
        ask_padding(True, "max", 6, KerasLayer("TextVectorization", "words", {}, ""), Answers({}))


def test_which_end_of_longer_texts_is_cut_off(tmp_path: Path) -> None:
    unpack(tmp_path)
    assumed = convert(tmp_path / "text-plain.keras", tmp_path / "a", labels=LABELS).assumed
    assert "context_length=6: the layer 'text_vectorization" in assumed[-1] and assumed[-1].endswith("side=right do")
    words = {"labels": LABELS[:2], "vocabulary": tmp_path / "words.txt", "fields": ANSWERS}
    assert "truncation_side=left" in str(convert(tmp_path / "fixed.keras", tmp_path / "b", **words).assumed)
