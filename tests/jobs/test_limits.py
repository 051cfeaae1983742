"""A trainer accepts every request that the API accepts, because both apply the same rules."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.errors import InvalidRequest
from app.jobs import limits
from app.jobs.parsing import parse
from app.training.plan import config
from app.training.prepare.dataset import Dataset, Facts, Rows, Stream
from app.wire.trainer import DataFile, TrainSpec
from app.wire.training_options import Columns, TrainingOptions
from app.wire.training_rules import RANGES, WORDS
from models.choices import NETWORKS
from models.config import ModelConfig

OPTIONS = TrainingOptions.__struct_fields__
WHOLE = ("int | None", "int")


def values(name: str) -> st.SearchStrategy[Any]:
    """Values for an option: inside its range, at its bounds, and slightly outside."""
    if name in WORDS:
        return st.sampled_from([*WORDS[name], "other"])
    if name not in RANGES:
        return st.sampled_from(["balanced"]) if name == "class_weights" else st.booleans()
    low, high = RANGES[name].low, RANGES[name].high
    if TrainingOptions.__annotations__[name] in WHOLE:
        near = st.integers(int(low) - 1, int(low) + 40)
        return near | st.sampled_from([int(high), int(high) + 1]) | st.integers(int(low), int(high))
    return st.floats(low, high) | st.sampled_from([low, high, low - 1.0, high + 1.0, 1e-300, 0.5])


@st.composite
def requests(draw: st.DrawFn) -> dict[str, Any]:
    names = draw(st.lists(st.sampled_from(OPTIONS), max_size=5, unique=True))
    body = {"model": draw(st.sampled_from(NETWORKS)), "training_file": "file-1"}
    body["task"] = draw(st.sampled_from(["classification", "multilabel", "regression", "generation"]))
    return body | {"training": {name: draw(values(name)) for name in names}}


def dataset(task: str, kind: str) -> Dataset:
    if task == "generation":
        stream = Stream(np.zeros(500, dtype=np.int32), 900)
        return Dataset(Facts(task, "tokens", "stream", vocab_size=300), stream, stream, None, None)
    lengths = np.arange(0, 200, 10)
    flat = np.zeros((190, 3), np.float32) if kind == "features" else np.zeros(190, np.int32)
    rows = Rows(flat, lengths, np.zeros(19, dtype=np.int64))
    labels = [] if task == "regression" else ["a", "b"]
    sizes = {"features": 3} if kind == "features" else {"vocab_size": 300}
    facts = Facts(task, kind, "rows", labels=labels, label_counts=[10, 9][: len(labels)], **sizes)  # type: ignore[arg-type]
    return Dataset(facts, rows, rows, None, None)


@settings(max_examples=400)
@given(requests())
def test_an_accepted_request_can_be_trained(body: dict[str, Any]) -> None:
    try:
        request = parse(body)
    except InvalidRequest as error:
        assert error.param is not None and error.param.startswith("training.")
        return
    file = DataFile("inputs/a", "a", "")
    spec = TrainSpec(request.model, file, 1, task=request.task, columns=Columns(), training=request.training)
    config.check(spec, None)
    settled = config.settle(spec, dataset(str(request.task), "tokens"), None, "cpu", 1)
    for name in ("layers", "width", "heads", "kv_heads", "pooling", "bidirectional", "dropout", "context_length"):
        asked = getattr(request.training, name)
        assert asked is None or getattr(settled.config, name) == asked


@pytest.mark.parametrize("heads", [1, 3, 7, 1000])
def test_any_number_of_heads_gets_a_width_that_fits(heads: int) -> None:
    request = parse({"model": "transformer", "training_file": "file-1", "training": {"heads": heads, "kv_heads": 1}})
    spec = TrainSpec(request.model, DataFile("inputs/a", "a", ""), 1, training=request.training)
    model = config.settle(spec, dataset("classification", "tokens"), None, "cpu", 1).config
    assert model.heads == heads and model.width % (2 * heads) == 0
    assert abs(model.width - 96) <= heads or model.width == 2 * heads


@pytest.mark.parametrize(("kv_heads", "width", "heads"), [(1, None, 4), (2, None, 4), (3, None, 3), (8, None, 8),
                                                          (2, 100, 2), (3, 96, 3), (1, 6, 3)])  # fmt: skip
def test_shared_keys_get_heads_that_fit(kv_heads: int, width: int | None, heads: int) -> None:
    options = {"kv_heads": kv_heads} | ({} if width is None else {"width": width})
    request = parse({"model": "transformer", "training_file": "file-1", "training": options})
    spec = TrainSpec(request.model, DataFile("inputs/a", "a", ""), 1, training=request.training)
    model = config.settle(spec, dataset("classification", "tokens"), None, "cpu", 1).config
    assert (model.heads, model.kv_heads) == (heads, kv_heads) and model.width % (2 * heads) == 0
    assert model.width == width if width else abs(model.width - 96) <= heads


@pytest.mark.parametrize("options", [{"tokenizer": "char"}, {"vocab_size": 300}])
def test_options_for_texts_are_refused_for_numbers(options: dict[str, Any]) -> None:
    request = parse({"model": "gru", "training_file": "file-1", "training": options})
    spec = TrainSpec(request.model, DataFile("inputs/a", "a", ""), 1, training=request.training)
    with pytest.raises(config.BadOption, match=f"training.{next(iter(options))}: applies only to text"):
        config.settle(spec, dataset("classification", "features"), None, "cpu", 1)


@pytest.mark.parametrize(
    ("base", "fields", "param"),
    [
        ({}, {"training": {"layers": 3}}, "training.layers"),
        ({}, {"training": {"layers": 2, "width": 256, "dropout": 0.3, "head_only": True}}, None),
        ({}, {"training": {"tokenizer": "bpe"}}, "training.tokenizer"),
        ({}, {"training": {"heads": 4}}, "training.heads"),
        ({}, {"training": {"pooling": "max"}}, "training.pooling"),
        ({"task": "generation", "classes": 0}, {"training": {"pooling": "max"}}, None),
        (
            {"task": "generation", "classes": 0},
            {"training": {"pooling": "max"}, "task": "generation"},
            "training.pooling",
        ),
        ({"architecture": "transformer"}, {"training": {"kv_heads": 4, "heads": 4}}, None),
        ({"architecture": "transformer"}, {"training": {"context_length": 1000}}, "training.context_length"),
        ({}, {"training": {"context_length": 1000}}, None),
        ({}, {"training": {"label_smoothing": 0.1}, "task": "regression"}, "training.label_smoothing"),
    ],
)
def test_fine_tuning_keeps_the_shape(base: dict[str, Any], fields: dict[str, Any], param: str | None) -> None:
    fields_of_base = {"architecture": "lstm", "task": "classification", "classes": 2, "vocab_size": 300} | base
    config_of_base = ModelConfig(**fields_of_base).to_dict()
    body = {"model": "mood:1", "training_file": "file-1"} | fields
    if param is None:
        limits.check_base(config_of_base, parse(body))
        return
    with pytest.raises(InvalidRequest) as caught:
        limits.check_base(config_of_base, parse(body))
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("My Model!", "my-model-"),
        ("lstm", "lstm"),
        ("_x", "x"),
        ("mood:3", "mood-3"),
        ("Ärger", "rger"),
        ("a" * 99, "a" * 64),
    ],
)
def test_a_text_becomes_a_model_name(text: str, name: str) -> None:
    assert limits.to_model_name(text, "suffix") == name


def test_a_model_name_needs_a_letter_or_digit() -> None:
    with pytest.raises(InvalidRequest) as caught:
        limits.to_model_name("!!!", "suffix")
    assert caught.value.param == "suffix"
