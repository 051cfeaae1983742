"""Requests and replies of `POST /v1/decisions`."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from app.api.decisions.asking import MOST_OPTIONS, MOST_QUESTIONS
from app.api.decisions.items import DecisionInput
from app.api.http.fields import Truncation

Instructions = str | list[dict[str, Any]]


class DecisionChoice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An option in a choice question: `value` is one of the version's labels. `description` has no effect.

    For a version with two labels, `true` represents the positive label and `false` represents the other label.
    """

    value: str | bool
    description: str | None = None


class DecisionLevel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A level in a score question: `label` is one of the version's labels. `description` has no effect."""

    label: str
    description: str | None = None


class PredicateQuestion(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="predicate"):
    """A question about the probability of one label.

    `name` is the label. If no label has this name, the version's only label, or the positive one of two, is used.

    `instructions` have no effect, because training determines which question a version answers.
    """

    instructions: Instructions
    name: str | None = None


class ChoiceQuestion(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="choice"):
    """A question that asks which of several labels applies. `instructions` have no effect."""

    instructions: Instructions
    choices: Annotated[list[DecisionChoice], Meta(min_length=2, max_length=MOST_OPTIONS)]
    name: str | None = None


class ScoreQuestion(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="score"):
    """A question about where an input lies on a scale of labels, ordered from the lowest level to the highest.

    `instructions` have no effect.

    For a regression, levels that are all numbers represent their own values; other levels represent 0, 1, 2, …
    """

    instructions: Instructions
    levels: Annotated[list[DecisionLevel], Meta(min_length=1, max_length=MOST_OPTIONS)]
    name: str | None = None


DecisionQuestion = PredicateQuestion | ChoiceQuestion | ScoreQuestion


class DecisionRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Questions about one input: a text, or messages and tool calls, which are read as lines of the form `role: text`.

    `truncate_prompt_tokens` is the number of tokens to which the text is truncated; -1 truncates it to the version's
    context length.
    """

    input: DecisionInput
    questions: Annotated[list[DecisionQuestion], Meta(min_length=1, max_length=MOST_QUESTIONS)]
    model: str | None = None
    truncate_prompt_tokens: Truncation | None = None


class PredicateAnswer(msgspec.Struct, frozen=True, tag="predicate"):
    """The probability that the predicate is true."""

    name: str | None
    probability: float


class ChoiceShare(msgspec.Struct, frozen=True):
    """An option's probability."""

    value: str | bool
    probability: float


class ChoiceAnswer(msgspec.Struct, frozen=True, tag="choice"):
    """The most probable option. `confidence` is 0 if all options are equally probable, and 1 if one is certain."""

    name: str | None
    choice: str | bool
    confidence: float
    probabilities: list[ChoiceShare]


class LevelShare(msgspec.Struct, frozen=True):
    """A level's probability. `value` is the level's position, starting at 0."""

    label: str
    value: int
    probability: float


class ScoreAnswer(msgspec.Struct, frozen=True, tag="score"):
    """The mean of the levels' positions, weighted by their probabilities."""

    name: str | None
    score: float
    confidence: float
    probabilities: list[LevelShare]


class Refusal(msgspec.Struct, frozen=True, tag="refusal"):
    """The version abstained because of the header `x-abstain-below` or `x-max-risk`, or the alias's `abstention`."""

    name: str | None


DecisionAnswer = PredicateAnswer | ChoiceAnswer | ScoreAnswer | Refusal


class InputDetails(msgspec.Struct, frozen=True):
    """Details about the input tokens. Both counts are 0, because decisions do not use the prefix cache."""

    cached_tokens: int = 0
    cache_write_tokens: int = 0


class OutputDetails(msgspec.Struct, frozen=True):
    """Details about the output tokens. The count is 0, because no text is generated."""

    reasoning_tokens: int = 0


class DecisionUsage(msgspec.Struct, frozen=True):
    """Token counts. The input is read once for all questions, and no tokens are generated."""

    input_tokens: int
    total_tokens: int
    output_tokens: int = 0
    input_tokens_details: InputDetails = InputDetails()
    output_tokens_details: OutputDetails = OutputDetails()


class DecisionReply(msgspec.Struct, frozen=True):
    """The answers, in the order of the questions."""

    model: str
    answers: list[DecisionAnswer]
    usage: DecisionUsage
