"""Parsing valid and invalid training requests."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import UNSET

from app.errors import InvalidRequest
from app.jobs.parsing import parse

MINIMAL = {"model": "lstm", "training_file": "file-1"}


def refused(**fields: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        parse(MINIMAL | fields)
    return caught.value


def test_a_minimal_request_is_enough() -> None:
    request = parse(MINIMAL)
    assert (request.from_scratch, request.validation_split, request.task) == (True, 0.1, None)
    assert request.publish.expected_version is UNSET
    assert (
        parse(MINIMAL | {"publish": {"alias": "champion", "expected_version": None}}).publish.expected_version is None
    )


def test_options_may_be_where_openai_has_them() -> None:
    old = parse(MINIMAL | {"hyperparameters": {"n_epochs": 3, "batch_size": "auto", "learning_rate_multiplier": 2}})
    assert (old.training.epochs, old.training.batch_size, old.training.learning_rate_multiplier) == (3, None, 2.0)
    inner = {"n_epochs": "auto", "learning_rate": 0.01, "warmup_ratio": 0.1}
    new = parse(MINIMAL | {"method": {"type": "supervised", "supervised": {"hyperparameters": inner}}})
    assert (new.training.epochs, new.training.learning_rate, new.training.warmup_ratio) == (None, 0.01, 0.1)
    both = parse(MINIMAL | {"hyperparameters": {"n_epochs": 3}, "training": {"epochs": 3, "width": 64}})
    assert (both.training.epochs, both.training.width) == (3, 64)


def test_options_with_two_values_are_refused() -> None:
    error = refused(hyperparameters={"n_epochs": 3}, training={"epochs": 4})
    assert error.param == "hyperparameters.n_epochs"
    assert "training.epochs" in error.message


@pytest.mark.parametrize("place", ["hyperparameters", "method.supervised.hyperparameters", "training"])
@pytest.mark.parametrize(
    ("name", "value"),
    [("n_epochs", "3"), ("n_epochs", 0), ("n_epochs", [1]), ("batch_size", 0), ("learning_rate", "x"), ("heads", 3)],
)
def test_an_error_names_the_option_as_it_was_sent(place: str, name: str, value: Any) -> None:
    name = "epochs" if place == "training" and name == "n_epochs" else name
    options = {name: value, "width": 64}
    fields = {"model": "transformer"}
    error = refused(**fields, **({"method": {"supervised": {"hyperparameters": options}}} if place.startswith("method")
                                 else {place: options}))  # fmt: skip
    assert error.param == f"{place}.{name}"
    assert error.message.startswith(f"{place}.{name}") and ("training." in error.message) == (place == "training")


def test_equal_requests_have_equal_hashes() -> None:
    one = parse({"model": "lstm", "training_file": "file-1", "metadata": {"a": "1", "b": "2"}})
    two = parse({"metadata": {"b": "2", "a": "1"}, "training_file": "file-1", "model": "lstm", "suffix": None})
    other = parse({"model": "gru", "training_file": "file-1", "metadata": {"a": "1", "b": "2"}})
    assert one.body_sha256 == two.body_sha256 != other.body_sha256


@pytest.mark.parametrize(
    ("fields", "param", "hint"),
    [
        ({"trainig": {}}, "trainig", "'training'"),
        ({"training": {"epoch": 3}}, "training.epoch", "'epochs'"),
        ({"hyperparameters": {"n_epoch": 3}}, "hyperparameters.n_epoch", "'n_epochs'"),
        ({"columns": {"txt": "a"}}, "columns.txt", "'text'"),
        ({"publish": {"names": "a"}}, "publish.names", "'name'"),
        ({"training": {"zzzzzz": 1}}, "training.zzzzzz", "the fields are epochs"),
    ],
)
def test_an_unknown_field_is_named_with_the_most_similar_one(fields: dict[str, Any], param: str, hint: str) -> None:
    error = refused(**fields)
    assert (error.param, error.code, error.status) == (param, "unknown_field", 400)
    assert hint in error.message


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"training": {"epochs": 0}}, "training.epochs"),
        ({"training": {"epochs": float("nan")}}, "training.epochs"),
        ({"validation_split": float("inf")}, "validation_split"),
        ({"hyperparameters": {"n_epochs": float("inf")}}, "hyperparameters.n_epochs"),
        ({"metadata": {"a": float("inf")}}, None),
        ({"training": {"dropout": 1}}, "training.dropout"),
        ({"training": {"batch_size": 0}}, "training.batch_size"),
        ({"training": {"batch_size": "many"}}, "training.batch_size"),
        ({"training": {"epochs": True}}, "training.epochs"),
        ({"training": {"learning_rate": -1}}, "training.learning_rate"),
        ({"training": {"max_seconds": 0}}, "training.max_seconds"),
        ({"training": {"layers": 10**9}}, "training.layers"),
        ({"training": {"tokenizer": "words"}}, "training.tokenizer"),
        ({"training": {"pooling": "sum"}}, "training.pooling"),
        ({"training": {"optimizer": "lion"}}, "training.optimizer"),
        ({"training": {"schedule": "steps"}}, "training.schedule"),
        ({"training": {"precision": "int8"}}, "training.precision"),
        ({"training": {"vocab_size": 100}}, "training.vocab_size"),
        ({"training": {"class_weights": "even"}}, "training.class_weights"),
        ({"training": {"class_weights": {"a": -1}}}, "training.class_weights.a"),
        ({"training": {"head_only": True}}, "training.head_only"),
        ({"training": {"bidirectional": True}, "task": "generation"}, "training.bidirectional"),
        ({"model": "transformer", "training": {"width": 250, "heads": 4}}, "training.heads"),
        ({"model": "transformer", "training": {"heads": 4, "kv_heads": 3}}, "training.kv_heads"),
        ({"model": "transformer", "training": {"kv_heads": 3, "width": 128}}, "training.kv_heads"),
        ({"model": "transformer", "training": {"bidirectional": True}}, "training.bidirectional"),
        ({"training": {"heads": 2}}, "training.heads"),
        ({"training": {"heads": 2, "kv_heads": 1}}, "training.heads"),
        ({"training": {"vocab_size": 258, "tokenizer": "char"}}, "training.vocab_size"),
        ({"training": {"vocab_size": 259, "tokenizer": "byte"}}, "training.vocab_size"),
        ({"training": {"vocab_size": 2_000_000}}, "training.vocab_size"),
        ({"training": {"context_length": 1}}, "training.context_length"),
        ({"training": {"width": 20_000}}, "training.width"),
        ({"training": {"pooling": "mean"}, "task": "generation"}, "training.pooling"),
        ({"training": {"label_smoothing": 0.1}, "task": "regression"}, "training.label_smoothing"),
        ({"training": {"class_weights": "balanced"}, "task": "generation"}, "training.class_weights"),
        ({"training": {"max_steps": 10**400}}, "training.max_steps"),
        ({"task": "translation"}, "task"),
        ({"validation_split": 1}, "validation_split"),
        ({"validation_split": 0.2, "validation_file": "file-2"}, "validation_split"),
        ({"method": {"type": "supervised", "supervised": ["n_epochs"]}}, "method.supervised"),
        ({"publish": {"name": ""}, "suffix": "x"}, "publish.name"),
        ({"publish": {"name": "x" * 65}}, "publish.name"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**40}, "seed"),
        ({"seed": "7"}, "seed"),
        ({"suffix": "x" * 65}, "suffix"),
        ({"metadata": {str(i): "" for i in range(17)}}, "metadata"),
        ({"metadata": {"k" * 65: ""}}, "metadata"),
        ({"metadata": {"k": "v" * 513}}, "metadata.k"),
        ({"metadata": {"k": 1}}, "metadata[...]"),
        ({"training_file": "../etc/passwd"}, "training_file"),
        ({"training_file": 7}, "training_file"),
        ({"publish": {"expected_version": 1}}, "publish.expected_version"),
        ({"publish": {"alias": "a", "expected_version": 0}}, "publish.expected_version"),
        ({"publish": {"alias": "a", "expected_version": -5}}, "publish.expected_version"),
        ({"publish": {"alias": "a", "expected_version": 10**9}}, "publish.expected_version"),
        ({"publish": {"alias": "a", "expected_version": 10**30}}, "publish.expected_version"),
        ({"method": {"type": "dpo"}}, "method.type"),
        ({"integrations": [{"type": "wandb"}]}, "integrations"),
        ({"suffix": "a\x00b"}, None),
        ({"metadata": {"k": "\ud800"}}, None),
        ({"hyperparameters": 3}, "hyperparameters"),
        ({"model": ""}, "model"),
    ],
)
def test_impossible_values_are_refused_with_their_field(fields: dict[str, Any], param: str | None) -> None:
    error = refused(**fields)
    assert (error.param, error.status) == (param, 400)
    assert "`" not in error.message


def test_a_backslash_before_u0000_is_text() -> None:
    """In JSON, this looks similar to a NUL character, which a database cannot store."""
    body = {"model": "lstm", "training_file": "file-1"}
    plain = parse({**body, "metadata": {"path": "C:\\u0000\\\\u0000"}})
    assert plain.metadata == {"path": "C:\\u0000\\\\u0000"}
    for text in ("\0", "\\\0", "\\\\\0", "a\0\\u0000"):
        with pytest.raises(InvalidRequest, match="NUL"):
            parse({**body, "metadata": {"path": text}})


def test_resources_are_refused_and_a_priority_is_accepted() -> None:
    body = {"model": "lstm", "training_file": "file-1"}
    assert parse({**body, "priority": 7, "resources": None}).priority == 7
    with pytest.raises(InvalidRequest, match="OSTINATO_THREADS") as caught:
        parse({**body, "resources": {"gpus": 1}})
    assert (caught.value.code, caught.value.param) == ("unsupported_resources", "resources")


def test_a_missing_field_is_named() -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse({"model": "lstm"})
    assert (caught.value.code, caught.value.param) == ("missing_field", "training_file")
