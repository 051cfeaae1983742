"""`POST /v1/systemone`: typed questions about one state, in the format that TypeSafe's clients send."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.api.decisions.asking import Outcome, TextToJudge, judge
from app.api.decisions.decisions import headers_of
from app.api.decisions.items import compact
from app.api.decisions.systemone_schemas import (
    NoulAnswer,
    NoulQuestion,
    OptionAnswer,
    OptionQuestion,
    RatingAnswer,
    SystemOneAnswer,
    SystemOneQuestion,
    SystemOneReply,
    SystemOneRequest,
    SystemOneUsage,
)
from app.api.http.bodies import JsonBody
from app.api.http.caller import LATEST, Caller
from app.api.http.neutral_fields import SYSTEM_ONE
from app.api.http.replies import JsonReply
from app.api.openapi.describe import reads, replies
from app.errors import InvalidRequest
from app.inference.answers import SelectionReading, confidence, expectation
from app.inference.questions import OptionChoice, Predicate, Rating, TypedQuestion
from app.telemetry import request_id

ABSTAINED = (
    "the version abstained, because it is less certain than the request or the alias requires; POST /v1/decisions "
    "returns a refusal instead of this error"
)
router = APIRouter(tags=["classification"])
_body = JsonBody(SystemOneRequest, SYSTEM_ONE)
_REQUEST: dict[str, Any] = {
    "model": "demo-sentiment-lstm",
    "state": "I love this!",
    "questions": {
        "positive": {"type": "noul", "instructions": "Is the message positive?"},
        "tone": {"type": "choice", "criteria": {"positive": "praise", "negative": "criticism"}},
        "mood": {"type": "score", "criteria": ["negative", "positive"]},
    },
}
_EXAMPLE: dict[str, Any] = {
    "model": "demo-sentiment-lstm",
    "answers": {
        "positive": {"type": "noul", "noul": 0.91},
        "tone": {
            "type": "choice",
            "choice": "positive",
            "confidence": 0.82,
            "probabilities": {"positive": 0.91, "negative": 0.09},
        },
        "mood": {
            "type": "score",
            "score": 0.91,
            "confidence": 0.82,
            "legend": {"0": "negative", "1": "positive"},
            "probabilities": {"0": 0.09, "1": 0.91},
        },
    },
    "usage": {"input_tokens": 4, "output_tokens": 0},
}


@router.post(
    "/v1/systemone",
    operation_id="system_one",
    summary="Answer typed questions about a state",
    description=(
        "Returns the probability of each option of each question. The options are labels with which the version was "
        "trained, so their order does not affect the probabilities. If the request has the header `x-abstain-below` "
        "(the lowest acceptable score) or `x-max-risk` (the highest acceptable error rate), or if the alias has an "
        "`abstention`, the reply is an error (`abstained`) when the version is not certain enough. `POST "
        "/v1/decisions` returns refusals instead."
    ),
    response_model=None,
    openapi_extra=reads(SystemOneRequest, three_questions=_REQUEST),
    responses=replies(SystemOneReply, _EXAMPLE),
)
async def system_one(request: Request) -> Response:
    body = await _body.read(request)
    caller = Caller.read(request, body.model and body.model.removesuffix(LATEST))
    state = body.state if isinstance(body.state, str) else compact(body.state)
    questions = [_question(name, question) for name, question in body.questions.items()]
    result = await judge(request, caller, TextToJudge(state, "state", body.truncate_prompt_tokens), questions)
    answers = {
        name: _answer(question, _require_outcome(outcome))
        for (name, question), outcome in zip(body.questions.items(), result.outcomes, strict=True)
    }
    reply = SystemOneReply(body.model or caller.reference, answers, SystemOneUsage(result.tokens))
    return JsonReply(reply, headers_of(result) | {"x-typesafe-request-id": request_id.get()})


def _question(name: str, question: SystemOneQuestion) -> TypedQuestion:
    place = f"questions.{name}"
    if isinstance(question, NoulQuestion):
        return Predicate(place, name)
    if isinstance(question, OptionQuestion):
        return OptionChoice(place, "criteria", list(question.criteria))
    levels = [level if isinstance(level, str) else compact(level) for level in question.criteria]
    return Rating(place, "criteria", levels)


def _require_outcome(outcome: Outcome | None) -> Outcome:
    """Return the outcome. Raises InvalidRequest if the version abstained, which the format cannot represent."""
    if outcome is None:
        raise InvalidRequest(ABSTAINED, code="abstained")
    return outcome


def _answer(question: SystemOneQuestion, outcome: Outcome) -> SystemOneAnswer:
    probabilities = outcome.probabilities
    if isinstance(question, NoulQuestion):
        return NoulAnswer(probabilities[0])
    if isinstance(question, OptionQuestion):
        assert isinstance(outcome.reading, SelectionReading)
        shares = dict(zip(question.criteria, probabilities, strict=True))
        return OptionAnswer(list(shares)[outcome.reading.best(probabilities)], confidence(probabilities), shares)
    numbers = [str(number) for number in range(len(probabilities))]
    return RatingAnswer(
        expectation(probabilities),
        confidence(probabilities),
        dict(zip(numbers, question.criteria, strict=True)),
        dict(zip(numbers, probabilities, strict=True)),
    )
