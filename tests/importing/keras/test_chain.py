"""Layers are ordered by the calls that a functional model records; a call that changes the results is named."""

from __future__ import annotations

from typing import Any

import pytest

from app.importing.keras.chain import read_layers
from app.importing.pytorch.parts import UnknownNetwork


def tensor(name: str) -> dict[str, Any]:
    return {"class_name": "__keras_tensor__", "config": {"shape": [None], "keras_history": [name, 0, 0]}}


def entry(kind: str, name: str, nodes: list[Any]) -> dict[str, Any]:
    return {"module": "keras.layers", "class_name": kind, "config": {}, "name": name, "inbound_nodes": nodes}


def model(**named: Any) -> dict[str, Any]:
    """A functional model with TextVectorization and a mask, as Keras 3 records it. `named`: arguments of the LSTM."""
    layers = [
        entry("InputLayer", "texts", []),
        entry("TextVectorization", "words", [{"args": [tensor("texts")], "kwargs": {}}]),
        entry("NotEqual", "not_equal", [{"args": [tensor("words"), 0], "kwargs": {}}]),
        entry("LSTM", "lstm", [{"args": [tensor("embedding")], "kwargs": {"mask": tensor("not_equal")} | named}]),
        entry("Embedding", "embedding", [{"args": [tensor("words")], "kwargs": {}}]),
    ]
    return {"class_name": "Functional", "config": {"layers": layers}}


def keras_2(node: Any) -> dict[str, Any]:
    layers = [entry("InputLayer", "ids", []), entry("Embedding", "embedding", [[["ids", 0, 0, {}]]])]
    return {"class_name": "Functional", "config": {"layers": [*layers, entry("LSTM", "lstm", [node])]}}


def test_the_mask_of_a_model_that_splits_texts() -> None:
    """The mask of such a model compares the ids that TextVectorization returns, not the model's input."""
    assert [layer.kind for layer in read_layers(model(training=False, initial_state=None))] == [
        "InputLayer", "TextVectorization", "Embedding", "LSTM",
    ]  # fmt: skip


@pytest.mark.parametrize("node", [[["embedding", 0, 0, {}]], ["embedding", 0, 0, {"training": None}]])
def test_calls_of_keras_2(node: Any) -> None:
    assert [layer.kind for layer in read_layers(keras_2(node))] == ["InputLayer", "Embedding", "LSTM"]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (model(initial_state=[[0.5], [0.5]]), "called with the argument 'initial_state'"),
        (model(training=True), "called with the argument 'training'"),
        (model(mask=[[True, False]]), "called with the argument 'mask'"),
        (model(mask=tensor("words")), "called with the argument 'mask'"),
        (keras_2([["embedding", 0, 0, {"initial_state": [["_CONSTANT_VALUE", -1, 1.0]]}]]), "argument 'initial_state'"),
        (keras_2([["embedding", 0, 0, {"x\x1b" * 99: 1}]]), r"argument '(x\\x1b)+.{0,4}', which"),
        (keras_2([["embedding", 0, 0, {}], ["ids", 0, 0, {}]]), "reads several inputs"),
        (keras_2({"args": [tensor("embedding"), 1.0], "kwargs": {}}), "reads several inputs"),
        (keras_2(3), "reads several inputs"),
    ],
)
def test_arguments_that_change_the_results(config: Any, message: str) -> None:
    with pytest.raises(UnknownNetwork, match=message):
        read_layers(config)


@pytest.mark.parametrize("node", [[["texts", 0, 0, {}]], {"args": [tensor("words"), 1]}, {"args": [tensor("lstm"), 0]}])
def test_other_comparisons(node: Any) -> None:
    config = model()
    config["config"]["layers"][2]["inbound_nodes"] = [node]
    with pytest.raises(UnknownNetwork, match="compares something other than"):
        read_layers(config)
