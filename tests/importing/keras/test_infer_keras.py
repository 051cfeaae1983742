"""Imported Keras models compute what Keras computes. All expected numbers were written by Keras."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from app.errors import InvalidRequest
from app.importing.convert import convert
from app.importing.output import Converted
from app.importing.questions import ImportQuestion
from app.tokenization.tokenizer import Tokenizer
from models import tasks
from tests.importing.keras.files import ANSWERS, WORDS, changed, unpack

OUTPUTS = {"lstm": 2, "gru": 3, "rnn": 3, "bidirectional": 3, "two": 3, "max": 2, "fixed": 2}


def run(source: Path, name: str, **fields: str) -> Converted:
    labels = list("abc"[: OUTPUTS[name]])
    target = source.parent / f"out-{source.name}"
    return convert(source, target, labels=labels, vocabulary=source.with_name("words.txt"), fields=ANSWERS | fields)


@torch.no_grad()
def assert_equal(converted: Converted, source: Path, name: str) -> None:
    """Compare the probabilities of a version with those of Keras, which padded the texts on the left if it could."""
    folder = source.parent / f"out-{source.name}"
    network = tasks.build(converted.checkpoint.config, initialised=False)
    assert isinstance(network, tasks.Classifier)
    network.load_state_dict(load_file(folder / "model.safetensors"))
    tokenizer = Tokenizer.load(folder)
    expected = json.loads((source.parent / f"{name}.expected.json").read_text())
    for ids, outputs in zip(expected["ids"], expected["outputs"], strict=True):
        assert tokenizer.encode(" ".join(WORDS[number - 1] for number in ids)) == ids
        logits = network.eval()(torch.tensor([ids]), torch.tensor([len(ids)]))[0]
        probs = logits.sigmoid() if converted.checkpoint.config.task == "multilabel" else logits.softmax(-1)
        torch.testing.assert_close(probs[-len(outputs) :], torch.tensor(outputs), atol=1e-5, rtol=0)


@pytest.mark.parametrize("suffix", ["keras", "h5", "weights.h5"])
def test_probabilities_are_those_of_keras(suffix: str, tmp_path: Path) -> None:
    """The three layouts; padding is skipped, and layers of different widths and directions are widened."""
    unpack(tmp_path)
    for name in OUTPUTS:
        source = tmp_path / f"{name}.{suffix}"
        converted = run(source, name, **({"padding": "none"} if name == "max" else {}))
        assert_equal(converted, source, name)
        config = converted.checkpoint.config
        assert config.context_length == (9 if name == "fixed" else 4096)
        assert config.task == ("multilabel" if name == "rnn" else "classification")
        assert ("width=4" in str(converted.assumed)) == (name == "two")


@pytest.mark.parametrize("name", ["keras2-functional", "keras2-sequential"])
def test_files_that_keras_2_wrote(name: str, tmp_path: Path) -> None:
    source = unpack(tmp_path) / f"{name}.h5"
    assert_equal(run(source, "gru"), source, name)


def test_the_layout_of_early_keras_2(tmp_path: Path) -> None:
    """The configuration of a Sequential model is a list, and weights are named `kernel:0`."""
    source = unpack(tmp_path) / "lstm.h5"
    with h5py.File(source, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        layers = [layer for layer in config["config"]["layers"] if layer["class_name"] != "InputLayer"]
        layers[0]["config"] |= {"batch_input_shape": [None, 7], "input_length": 7}
        plain = [{"class_name": layer["class_name"], "config": layer["config"]} for layer in layers]
        file.attrs["model_config"] = json.dumps({"class_name": "Sequential", "config": plain}).encode()
        names: list[str] = []
        file["model_weights"].visititems(lambda name, item: names.append(name) if hasattr(item, "shape") else None)
        for name in names:
            file["model_weights"].move(name, f"{name}:0")
    converted = run(source, "lstm")
    assert_equal(converted, source, "lstm")
    assert converted.checkpoint.config.context_length == 7


def settings(**values: Any) -> Callable[[list[dict[str, Any]]], None]:
    """Change settings of the recurrent layer, which is the first layer whose class ends in a capital letter."""

    def change(layers: list[dict[str, Any]]) -> None:
        next(layer for layer in layers if layer["class_name"] in ("LSTM", "GRU"))["config"].update(values)

    return change


def insert(kind: str, place: int, **config: Any) -> Callable[[list[dict[str, Any]]], None]:
    entry = {"module": "keras.layers", "class_name": kind, "config": {"name": "other"} | config}
    return lambda layers: layers.insert(place, entry)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("lstm", settings(recurrent_activation="hard_sigmoid"), "recurrent_activation 'hard_sigmoid'.*must be"),
        ("lstm", settings(activation="relu"), "activation 'relu'; it must be tanh"),
        ("lstm", settings(activation={"class_name": "function", "config": "mine"}), "activation that is an object"),
        ("lstm", settings(stateful=True), "stateful=True.*stateful=False"),
        ("lstm", settings(go_backwards=True), "go_backwards=True"),
        ("lstm", settings(return_sequences=True), "output for every step.*GlobalAveragePooling1D"),
        ("fixed", settings(units=2**40), "do not fit 1099511627776 units"),
        ("lstm", lambda layers: layers.__setitem__(slice(2, 3), layers[2:3] * 17), "17 recurrent layers; the limit"),
        ("lstm", insert("CuDNNLSTM", 2), "build the same model with LSTM"),
        ("gru", settings(reset_after=False), "reset_after=False.*reset_after=True"),
        ("lstm", insert("Conv1D", 2), r"'other' \(Conv1D\) cannot be imported; train the model without convolutions"),
        ("lstm", insert("MultiHeadAttention", 3), "attention layers cannot be imported"),
        ("lstm", insert("Lambda", 3), "contains code, which is never run"),
        ("lstm", insert("BatchNormalization", 3), "fold it into the next Dense layer"),
        ("lstm", insert("Dense", 2, units=4), "must follow its embedding"),
        ("lstm", lambda layers: layers[1].update(registered_name="Custom>Embedding"), "custom object"),
        ("lstm", lambda layers: layers[1].update(module="mine.layers"), "custom object"),
        ("lstm", lambda layers: layers[-1]["config"].update(activation="softmax"), "must end with softmax or sigmoid"),
        ("gru", lambda layers: layers[4]["config"].update(activation="leaky_relu"), "activation 'leaky_relu'"),
        ("two", lambda layers: layers[2]["config"].update(merge_mode="sum"), "merge_mode='sum'"),
        ("bidirectional", lambda layers: layers[-1].update(inbound_nodes=[]), "reads several inputs"),
    ],
)  # fmt: skip
def test_what_is_not_exact_is_named(name: str, change: Any, message: str, tmp_path: Path) -> None:
    source = changed(unpack(tmp_path), name, change)
    with pytest.raises(InvalidRequest, match=f"(?s){message}"):
        run(source, name)
    assert not (tmp_path / f"out-{source.name}").exists()


def test_padding_that_the_network_reads(tmp_path: Path) -> None:
    """Without a mask, the network reads padding as text, so the import asks, and rejects padded texts."""
    source = changed(unpack(tmp_path), "lstm", lambda layers: layers[1]["config"].update(mask_zero=False))
    with pytest.raises(ImportQuestion, match=r"padding: .*mask_zero=False.*pads on the left"):
        run(source, "lstm")
    with pytest.raises(
        InvalidRequest, match=r"reads padding as if it were text; train it with Embedding\(…, mask_zero"
    ):
        run(source, "lstm", padding="left")
    with pytest.raises(ImportQuestion, match="GlobalMaxPooling1D ignores the mask"):
        source = changed(tmp_path, "max", lambda layers: layers[1]["config"].update(mask_zero=True))
        run(source, "max")


def test_the_id_of_padding_is_not_the_id_of_a_word(tmp_path: Path) -> None:
    source = unpack(tmp_path) / "lstm.keras"
    for fields in ({"first_id": "0"}, {"unknown": "0"}):
        with pytest.raises(InvalidRequest, match="has the id 0, which the model skips as padding"):
            run(source, "lstm", **fields)


def test_the_import_asks_for_labels_and_words(tmp_path: Path) -> None:
    with pytest.raises(ImportQuestion) as error:
        convert(unpack(tmp_path) / "gru.keras", tmp_path / "out")
    assert [question.field for question in error.value.questions] == ["labels", "vocabulary", "split", "lowercase"]


def test_words_of_a_keras_tokenizer_without_its_settings(tmp_path: Path) -> None:
    """The words of `tokenizer.word_index` alone do not show that punctuation is filtered, so the import asks."""
    source = unpack(tmp_path) / "lstm.keras"
    (tmp_path / "words.txt").write_text(json.dumps({"good": 1, "don't": 2, "bad": 3}))
    plain = {"lowercase": "yes", "unknown": "skip"}
    labels, words = ["a", "b"], tmp_path / "words.txt"
    with pytest.raises(ImportQuestion, match=r"split: .*keras: at spaces"):
        convert(source, tmp_path / "out", labels=labels, vocabulary=words, fields=plain)
    convert(source, tmp_path / "out", labels=labels, vocabulary=words, fields=plain | {"split": "keras"})
    assert Tokenizer.load(tmp_path / "out").encode("Good, (don't)! unknown-bad") == [1, 2, 3]


def test_the_configuration_beside_the_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file that was used is recorded. A file that is too large is named, and no other one is used instead."""
    source = unpack(tmp_path) / "lstm.weights.h5"
    assert run(source, "lstm").assumed[0] == "configuration=lstm.json: the file beside the weights"
    monkeypatch.setattr("app.importing.keras.sources.CONFIG_LIMIT", 100)
    with pytest.raises(InvalidRequest, match=r"lstm.json beside lstm.weights.h5 has .* at most 100"):
        run(source, "lstm")


def test_widths_that_make_the_network_much_larger_than_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All layers get the width of the widest, so 16 layers with one wide layer need much more than the file."""
    source = unpack(tmp_path) / "wide.h5"
    config = json.loads((tmp_path / "two.json").read_text())
    first, cell, *_, last = config["config"]["layers"][1:]
    sizes = [1] * 14 + [128, 1]
    names = [f"layer_{number}" for number in range(16)]
    settings = [
        {"name": name, "units": size, "return_sequences": True} for name, size in zip(names, sizes, strict=True)
    ]
    settings[-1]["return_sequences"] = False
    inner = cell["config"]["layer"]
    layers = [inner | {"config": inner["config"] | changes} for changes in settings]
    config["config"]["layers"] = [first, *layers, last]
    with h5py.File(source, "w") as file:
        file.attrs["model_config"] = json.dumps(config)
        file[f"model_weights/{first['config']['name']}/embeddings"] = np.zeros((12, 4), "f4")
        inputs = 4
        for name, size in zip(names, sizes, strict=True):
            place = file.create_group(f"model_weights/{name}")
            place["kernel"], place["bias"] = np.zeros((inputs, 4 * size), "f4"), np.zeros(4 * size, "f4")
            place["recurrent_kernel"] = np.zeros((size, 4 * size), "f4")
            inputs = size
        file[f"model_weights/{last['config']['name']}/kernel"] = np.zeros((1, 3), "f4")
        file[f"model_weights/{last['config']['name']}/bias"] = np.zeros(3, "f4")
    monkeypatch.setattr("app.importing.keras.hdf5.INFLATION", 16)
    with pytest.raises(InvalidRequest, match=r"layers of one width needs .* at most 16 times"):
        run(source, "two")


def test_weights_without_a_configuration(tmp_path: Path) -> None:
    (unpack(tmp_path) / "lstm.json").unlink()
    with pytest.raises(InvalidRequest, match=r"model.save\('lstm.keras'\), or write model.to_json\(\) to lstm.json"):
        run(tmp_path / "lstm.weights.h5", "lstm")


def test_weights_of_another_model(tmp_path: Path) -> None:
    (unpack(tmp_path) / "rnn.json").rename(tmp_path / "lstm.json")
    with pytest.raises(InvalidRequest, match="must be of one model"):
        run(tmp_path / "lstm.weights.h5", "lstm")
