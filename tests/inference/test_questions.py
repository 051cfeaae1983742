"""Typed questions refer to labels of a version."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from app.errors import InvalidRequest
from app.inference.answers import AnswerReading, LabelReading, ScaleReading, SelectionReading
from app.inference.questions import OptionChoice, Predicate, QuestionReader, Rating, TypedQuestion, positive_index
from app.inference.versions import Assets, ResolvedVersion
from models.config import ModelConfig
from tests.inference.test_versions import Record

TONES = ("angry", "calm", "sad")


def read(question: TypedQuestion, labels: Sequence[str] = TONES, task: str = "classification") -> AnswerReading:
    config = ModelConfig(architecture="lstm", task=task, vocab_size=9, classes=len(labels) or 1, width=8)
    version = ResolvedVersion(Record("mood:1", "0"), Assets(config, {}, tuple(labels), None), 0.0)
    return QuestionReader.of(version).read(question)


def refusal(question: TypedQuestion, labels: Sequence[str] = TONES, task: str = "classification") -> InvalidRequest:
    with pytest.raises(InvalidRequest) as refused:
        read(question, labels, task)
    return refused.value


def choice(*options: str | bool) -> OptionChoice:
    return OptionChoice("questions[2]", "choices", options)


def score(*levels: str) -> Rating:
    return Rating("questions.q", "criteria", levels)


@pytest.mark.parametrize("positive", ["true", "Yes", "1", "POSITIVE"])
def test_a_binary_version_has_a_positive_label(positive: str) -> None:
    assert read(Predicate("questions[0]"), ["other", positive]) == LabelReading(1)
    assert read(Predicate("questions[0]", "urgent"), [positive, "other"]) == LabelReading(0)
    assert positive_index(["other", positive, "third"]) is None


def test_a_predicate_may_be_named_after_its_label() -> None:
    assert read(Predicate("questions[0]", "calm")) == LabelReading(1)
    assert read(Predicate("questions[0]", "no"), ["no", "yes"]) == LabelReading(0)  # the name is the label
    assert read(Predicate("questions[0]", "sad"), TONES, "multilabel") == LabelReading(2)
    assert read(Predicate("questions[0]"), ["toxic"], "multilabel") == LabelReading(0)


def test_a_predicate_about_no_label_is_refused() -> None:
    error = refusal(Predicate("questions[0]", "angy"))
    assert (error.param, error.code) == ("questions[0]", "unknown_label")
    assert "'angry', 'calm', 'sad'" in error.message and "did you mean 'angry'?" in error.message
    assert (
        "one of them is 'true', 'yes', '1' or 'positive'" in refusal(Predicate("questions[0]"), ["ham", "spam"]).message
    )
    assert "'label 7', …" in refusal(Predicate("questions[0]"), [f"label {i}" for i in range(99)]).message


def test_a_choice_names_labels() -> None:
    assert read(choice("sad", "angry")) == SelectionReading((2, 0))
    error = refusal(choice("sad", "angri"))
    assert error.param == "questions[2].choices" and "'angri' is not a label of mood:1" in error.message
    assert "did you mean 'angry'?" in error.message
    assert "its labels are 'angry', 'calm', 'sad'" in refusal(choice("sad", "weather")).message
    assert "contains the label 'sad' twice" in refusal(choice("sad", "sad")).message


def test_booleans_stand_for_the_labels_of_a_binary_version() -> None:
    assert read(choice(True, False), ["no", "yes"]) == SelectionReading((1, 0))
    assert read(choice(False, True), ["False", "True"]) == SelectionReading((0, 1))
    assert "contains the label 'true' twice" in refusal(choice(True, "true"), ["false", "true"]).message
    assert "'true' is not a label" in refusal(choice(True, "sad")).message


def test_a_score_names_labels_or_describes_numbers() -> None:
    assert read(score("calm", "sad", "angry")) == SelectionReading((1, 2, 0))
    assert read(score("2", "3"), ["1", "2", "3"]) == SelectionReading((1, 2))
    assert read(score("bad", "so so", "good"), ["1", "2", "3"]) == SelectionReading((0, 1, 2))
    assert "'bad' is not a label" in refusal(score("bad", "good"), ["1", "2", "3"]).message


def test_a_regression_is_cut_at_its_levels() -> None:
    assert read(score("1", "2.5"), (), "regression") == ScaleReading((1.0, 2.5))
    assert read(score("low", "high"), (), "regression") == ScaleReading((0.0, 1.0))
    assert read(score("1", "inf"), (), "regression") == ScaleReading((0.0, 1.0))
    assert "contains a level twice" in refusal(score("1", "1.0"), (), "regression").message
    for question in (Predicate("questions[0]"), choice("a", "b")):
        assert refusal(question, (), "regression").code == "wrong_task"
