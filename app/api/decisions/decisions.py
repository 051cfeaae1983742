"""`POST /v1/decisions`: typed questions about one input, in OpenAI's format."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.api.decisions.asking import Judgement, Outcome, TextToJudge, judge
from app.api.decisions.decisions_schemas import (
    ChoiceAnswer,
    ChoiceQuestion,
    ChoiceShare,
    DecisionAnswer,
    DecisionQuestion,
    DecisionReply,
    DecisionRequest,
    DecisionUsage,
    LevelShare,
    PredicateAnswer,
    PredicateQuestion,
    Refusal,
    ScoreAnswer,
    ScoreQuestion,
)
from app.api.decisions.items import text_of
from app.api.http.bodies import JsonBody
from app.api.http.caller import Caller
from app.api.http.neutral_fields import DECISIONS
from app.api.http.replies import JsonReply, answer_headers
from app.api.openapi.describe import reads, replies
from app.inference.answers import SelectionReading, confidence, expectation
from app.inference.questions import OptionChoice, Predicate, Rating, TypedQuestion

router = APIRouter(tags=["classification"])
_body = JsonBody(DecisionRequest, DECISIONS)
_REQUEST: dict[str, Any] = {
    "model": "demo-sentiment-lstm",
    "input": "I love this!",
    "questions": [
        {"type": "predicate", "name": "positive", "instructions": "Is the message positive?"},
        {
            "type": "choice",
            "name": "tone",
            "instructions": "What is the tone?",
            "choices": [{"value": "positive"}, {"value": "negative"}],
        },
    ],
}
_EXAMPLE: dict[str, Any] = {
    "model": "demo-sentiment-lstm",
    "answers": [
        {"type": "predicate", "name": "positive", "probability": 0.91},
        {
            "type": "choice",
            "name": "tone",
            "choice": "positive",
            "confidence": 0.82,
            "probabilities": [
                {"value": "positive", "probability": 0.91},
                {"value": "negative", "probability": 0.09},
            ],
        },
    ],
    "usage": {
        "input_tokens": 4,
        "total_tokens": 4,
        "output_tokens": 0,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": 0},
    },
}


@router.post(
    "/v1/decisions",
    operation_id="create_decision",
    summary="Answer typed questions about an input",
    description=(
        "Returns the probability of each option of each question. The options are labels with which the version was "
        "trained, so their order does not affect the probabilities. If the request has the header `x-abstain-below` "
        "(the lowest acceptable score) or `x-max-risk` (the highest acceptable error rate), or if the alias has an "
        "`abstention`, the version abstains when it is not certain enough."
    ),
    response_model=None,
    openapi_extra=reads(DecisionRequest, two_questions=_REQUEST),
    responses=replies(DecisionReply, _EXAMPLE),
)
async def create_decision(request: Request) -> Response:
    body = await _body.read(request)
    caller = Caller.read(request, body.model)
    text = TextToJudge(text_of(body.input), "input", body.truncate_prompt_tokens)
    questions = [_question(question, f"questions[{i}]") for i, question in enumerate(body.questions)]
    result = await judge(request, caller, text, questions)
    answers = [_answer(*each) for each in zip(body.questions, result.outcomes, strict=True)]
    reply = DecisionReply(caller.reference, answers, DecisionUsage(result.tokens, result.tokens))
    return JsonReply(reply, headers_of(result))


def headers_of(result: Judgement) -> dict[str, str]:
    """Return the HTTP headers of a reply that contains the result."""
    return answer_headers(result.scored.version.ref, result.tokens, result.scored.timing)


def _question(question: DecisionQuestion, place: str) -> TypedQuestion:
    if isinstance(question, PredicateQuestion):
        return Predicate(place, question.name)
    if isinstance(question, ChoiceQuestion):
        return OptionChoice(place, "choices", [choice.value for choice in question.choices])
    return Rating(place, "levels", [level.label for level in question.levels])


def _answer(question: DecisionQuestion, outcome: Outcome | None) -> DecisionAnswer:
    if outcome is None:
        return Refusal(question.name)
    probabilities = outcome.probabilities
    if isinstance(question, PredicateQuestion):
        return PredicateAnswer(question.name, probabilities[0])
    if isinstance(question, ScoreQuestion):
        levels = zip(question.levels, probabilities, strict=True)
        shares = [LevelShare(level.label, i, share) for i, (level, share) in enumerate(levels)]
        return ScoreAnswer(question.name, expectation(probabilities), confidence(probabilities), shares)
    assert isinstance(outcome.reading, SelectionReading)
    options = [ChoiceShare(choice.value, p) for choice, p in zip(question.choices, probabilities, strict=True)]
    best = options[outcome.reading.best(probabilities)]
    return ChoiceAnswer(question.name, best.value, confidence(probabilities), options)
