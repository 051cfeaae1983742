"""Asks which function a network applies between two layers, and describes how the service computes the function."""

from __future__ import annotations

from app.importing.questions import Answers, Question
from models.choices import ACTIVATIONS

# Functions that programs also use with other parameters -> PyTorch's default, which the service computes.
PARAMETERS = {"gelu": "exact", "elu": "alpha 1", "leaky_relu": "slope 0.01"}


def ask_function(
    field: str, text: str, answers: Answers, options: tuple[str, ...] = ACTIVATIONS, usual: str | None = None
) -> str:
    """Ask for a function. The question states the parameters that the function must have."""
    fixed = [describe_function(function) for function in options if function in PARAMETERS]
    text = f"{text} The service computes {', '.join(fixed)}; other parameters cannot be imported"
    return answers.ask(Question(field, text, options, usual))


def describe_function(function: str) -> str:
    """Return the function's name, followed by its parameter if it has one: `leaky_relu (slope 0.01)`."""
    return f"{function} ({PARAMETERS[function]})" if function in PARAMETERS else function
