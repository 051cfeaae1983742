"""Requests and replies of `POST /v1/systemone`."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from app.api.decisions.asking import MOST_OPTIONS, MOST_QUESTIONS
from app.api.http.fields import Truncation

Described = str | dict[str, Any] | list[Any]


class NoulCriteria(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Descriptions of the answers `true` and `false`. They have no effect."""

    true: Described | None = None
    false: Described | None = None


class NoulQuestion(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="noul"):
    """A question about the probability of the label that has the question's name. If no label has this name, the
    version's only label, or the positive one of two, is used. `instructions` have no effect, because training
    determines which question a version answers.
    """

    instructions: Described | None = None
    criteria: NoulCriteria | None = None


class OptionQuestion(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="choice"):
    """A question that asks which of several labels applies.

    The keys of `criteria` are labels; its values have no effect.
    """

    criteria: Annotated[dict[str, Described | None], Meta(min_length=1, max_length=MOST_OPTIONS)]
    instructions: Described | None = None


class RatingQuestion(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="score"):
    """A question about where an input lies on a scale of labels, ordered from the lowest level to the highest.

    If all of the version's labels are numbers, and there are as many levels as labels, the levels describe the numbers.
    For a regression, levels that are all numbers represent their own values; other levels represent 0, 1, 2, …
    """

    criteria: Annotated[list[Described], Meta(min_length=1, max_length=MOST_OPTIONS)]
    instructions: Described | None = None


SystemOneQuestion = NoulQuestion | OptionQuestion | RatingQuestion


class SystemOneRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Questions about one state. The state is a text, or an object or array that is read as compact JSON.

    `truncate_prompt_tokens` is the number of tokens to which the text is truncated; -1 truncates it to the version's
    context length.
    """

    state: Described
    questions: Annotated[dict[str, SystemOneQuestion], Meta(min_length=1, max_length=MOST_QUESTIONS)]
    model: str | None = None
    truncate_prompt_tokens: Truncation | None = None


class NoulAnswer(msgspec.Struct, frozen=True, tag="noul"):
    """The probability that the answer is yes."""

    noul: float


class OptionAnswer(msgspec.Struct, frozen=True, tag="choice"):
    """The most probable option. `confidence` is 0 if all options are equally probable, and 1 if one is certain."""

    choice: str
    confidence: float
    probabilities: dict[str, float]


class RatingAnswer(msgspec.Struct, frozen=True, tag="score"):
    """The mean of the levels' positions, weighted by their probabilities. `legend` repeats the levels."""

    score: float
    confidence: float
    legend: dict[str, Described]
    probabilities: dict[str, float]


SystemOneAnswer = NoulAnswer | OptionAnswer | RatingAnswer


class SystemOneUsage(msgspec.Struct, frozen=True):
    """Token counts. The state is read once for all questions, and no tokens are generated."""

    input_tokens: int
    output_tokens: int = 0


class SystemOneReply(msgspec.Struct, frozen=True):
    """The answers, by question name."""

    model: str
    answers: dict[str, SystemOneAnswer]
    usage: SystemOneUsage


class SystemOneFault(msgspec.Struct, frozen=True):
    """An error in the request. `loc` is the path of the invalid field and begins with `body`.

    `type` is a machine-readable code.
    """

    loc: list[str | int]
    msg: str
    type: str


class SystemOneError(msgspec.Struct, frozen=True):
    """An error: a message, and the request's invalid fields."""

    error: str
    detail: list[SystemOneFault]
