"""Asks a version typed questions about one text. Both decision formats use this module."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import Request

from app.api.http.caller import Caller
from app.api.http.neutral_fields import SENT_NAMES
from app.api.http.presence import attended
from app.api.http.services import services_of
from app.errors import InvalidRequest
from app.inference.answers import AnswerReading, HeadOutput
from app.inference.decisions import DecisionPolicy, DecisionRule, decision_rule
from app.inference.lengths import LengthPolicy
from app.inference.queries import InferenceQuery, ScoredBatch
from app.inference.questions import OptionChoice, QuestionReader, Rating, TypedQuestion
from app.inference.scoring import activate
from app.inference.versions import ResolvedVersion

MOST_QUESTIONS, MOST_OPTIONS = 400, 255
INLINE = 2000  # if there are more options or outputs, the probabilities are computed in a worker thread
POLICY = {"abstain_below": "x-abstain-below", "max_risk": "x-max-risk"}  # field of the policy -> header


@dataclass(frozen=True, slots=True)
class TextToJudge:
    """The text to which all questions refer.

    `param` is the request field that contains the text, for use in error messages.
    """

    text: str
    param: str
    truncate: int | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """The probabilities of a question's options, and the `AnswerReading` that computed them from the head's output."""

    reading: AnswerReading
    probabilities: list[float]


@dataclass(frozen=True, slots=True)
class Judgement:
    """Each question's outcome, or None for all questions if the version abstained."""

    scored: ScoredBatch
    outcomes: Sequence[Outcome | None]

    @property
    def tokens(self) -> int:
        return sum(self.scored.lengths)


async def judge(request: Request, caller: Caller, text: TextToJudge, questions: Sequence[TypedQuestion]) -> Judgement:
    """Answer questions about a text. Raises InvalidRequest unless the version can answer all of them.

    The version reads the text only once, because its computation does not depend on the questions.
    """
    policy, readings = _policy(request), list[AnswerReading]()

    def check(version: ResolvedVersion) -> None:
        reader = QuestionReader.of(version)
        readings.extend(reader.read(question) for question in questions)
        _rule(version, policy)

    inference = services_of(request).inference
    items = await inference.items(text.text, text.param)
    query = InferenceQuery(
        caller.reference,
        items,
        caller.principal,
        caller.seconds,
        LengthPolicy(truncate=text.truncate),
        text.param,
    )
    scored = await attended(request, inference.classify(query, check))
    if sum(map(_size, questions)) <= INLINE >= len(scored.rows[0]):
        return _judgement(scored, readings, policy)
    return await asyncio.to_thread(_judgement, scored, readings, policy)


def _size(question: TypedQuestion) -> int:
    if isinstance(question, OptionChoice):
        return len(question.options)
    return len(question.levels) if isinstance(question, Rating) else 1


def _judgement(scored: ScoredBatch, readings: Sequence[AnswerReading], policy: DecisionPolicy | None) -> Judgement:
    [row], task = scored.rows, scored.version.config.task
    output = HeadOutput(row, row if task == "regression" else activate(row, task))
    if _rule(scored.version, policy).abstains(output.probabilities):
        return Judgement(scored, [None] * len(readings))
    return Judgement(scored, [Outcome(reading, reading.probabilities(output)) for reading in readings])


def _rule(version: ResolvedVersion, policy: DecisionPolicy | None) -> DecisionRule:
    """Return the rule for a version. Without a policy, the abstention of the alias in the request applies."""
    if policy is not None:
        return decision_rule(version, policy)
    own = version.record.abstention
    try:
        return decision_rule(version, DecisionPolicy(abstain_below=own.abstain_below, max_risk=own.max_risk))
    except InvalidRequest as error:  # the alias has been moved to a version that lacks what the abstention requires
        message = f"the abstention of the alias cannot be applied: {error.message}"
        raise InvalidRequest(message, code=error.code, param="model") from None


def _policy(request: Request) -> DecisionPolicy | None:
    """Return the policy in the request's headers, or None. Errors about the policy name the header as `param`."""
    values: dict[str, Any] = {field: _share(request, header) for field, header in POLICY.items()}
    if all(value is None for value in values.values()):
        return None
    request.scope[SENT_NAMES] |= POLICY
    return DecisionPolicy(**values)


def _share(request: Request, header: str) -> float | None:
    sent = request.headers.get(header)
    if sent is None:
        return None
    try:
        share = float(sent)
    except ValueError:
        share = -1.0
    if not 0 < share < 1:
        raise InvalidRequest(f"the header {header} must be a number between 0 and 1, such as 0.05", param=header)
    return share
