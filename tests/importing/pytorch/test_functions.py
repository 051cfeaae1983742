"""Questions about activation functions state the parameters that the service uses for each function."""

from __future__ import annotations

import pytest

from app.errors import InvalidRequest
from app.importing.pytorch.functions import ask_function, describe_function
from app.importing.questions import Answers


def test_the_question_states_the_parameters_of_its_options() -> None:
    answers = Answers({})
    assert ask_function("head_activation", "which function?", answers) == "none"
    assert ask_function("activation", "which activation?", answers, ("relu", "gelu"), "relu") == "relu"
    every, few = map(str, answers.open)
    assert "leaky_relu (slope 0.01)" in every and "elu (alpha 1)" in every and "gelu (exact)" in every
    assert "gelu (exact)" in few and "slope" not in few and "[PyTorch's default: relu]" in few


def test_an_answer_with_a_parameter_is_rejected_with_the_parameters_that_can_be_imported() -> None:
    with pytest.raises(InvalidRequest, match=r"leaky_relu \(slope 0.01\)"):
        ask_function("head_activation", "which function?", Answers({"head_activation": "leaky_relu(0.2)"}))


def test_only_functions_with_a_parameter_are_described_with_one() -> None:
    assert [describe_function(name) for name in ("relu", "elu")] == ["relu", "elu (alpha 1)"]
