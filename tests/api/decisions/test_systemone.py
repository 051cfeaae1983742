"""`/v1/systemone`: answers to each type of question in the format of TypeSafe's clients, and rejected requests."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from app.wire import engine as wire
from tests.api.decisions.test_decisions import ask, logits
from tests.api.native.test_classify import softmax
from tests.fakes import FakeEngine
from tests.serving import LABELS, Api, Shelf, byte_tokenizer

QUESTIONS: dict[str, Any] = {
    "neutral": {"type": "noul", "instructions": "Is it neutral?"},
    "tone": {"type": "choice", "criteria": {"positive": "praise", "neutral": None}},
    "mood": {"type": "score", "criteria": list(LABELS)},
}


def send(api: Api, headers: dict[str, str] | None = None, **change: Any) -> httpx.Response:
    body = {"model": "mood", "state": "good day", "questions": QUESTIONS} | change
    with api.client() as client:
        return client.post("/v1/systemone", json=body, headers=headers)


def test_each_type_of_question_has_its_answer(api: Api, shelf: Shelf) -> None:
    shelf.classifier()
    reply = send(api, keep_alive="5m", assets={})
    assert reply.status_code == 200, reply.text
    probs, tone = softmax(logits()), softmax([logits()[2], logits()[1]])
    assert reply.json() == {
        "model": "mood",
        "answers": {
            "neutral": {"type": "noul", "noul": pytest.approx(probs[1])},
            "tone": {
                "type": "choice", "choice": ("positive", "neutral")[tone.index(max(tone))],
                "confidence": pytest.approx(2 * max(tone) - 1),
                "probabilities": {"positive": pytest.approx(tone[0]), "neutral": pytest.approx(tone[1])},
            },
            "mood": {
                "type": "score", "score": pytest.approx(probs[1] + 2 * probs[2]),
                "confidence": pytest.approx((max(probs) - 1 / 3) / (2 / 3)),
                "legend": {str(i): label for i, label in enumerate(LABELS)},
                "probabilities": {str(i): pytest.approx(p) for i, p in enumerate(probs)},
            },
        },
        "usage": {"input_tokens": 8, "output_tokens": 0},
    }  # fmt: skip
    assert reply.headers["x-typesafe-request-id"] == reply.headers["x-request-id"]


def test_both_formats_give_the_same_numbers(api: Api, shelf: Shelf) -> None:
    shelf.classifier()
    choices = [{"value": "neutral"}, {"value": "positive"}]
    openai = ask(api, {"type": "choice", "instructions": "?", "choices": choices}).json()["answers"][0]
    tone = send(api).json()["answers"]["tone"]
    assert {share["value"]: share["probability"] for share in openai["probabilities"]} == tone["probabilities"]
    assert (openai["choice"], openai["confidence"]) == (tone["choice"], tone["confidence"])


def test_a_state_is_read_as_compact_json(api: Api, shelf: Shelf, engine: FakeEngine) -> None:
    shelf.classifier()
    for state, text in (({"b": "x", "a": [1]}, '{"b":"x","a":[1]}'), (["x", {}], '["x",{}]'), ("x", "x")):
        assert send(api, state=state).status_code == 200
        read = engine.wait_for(wire.Score)[-1]
        assert isinstance(read, wire.Score) and read.sequences == [byte_tokenizer().encode(text)]


def test_an_uncertain_version_answers_with_an_error_if_it_is_asked_to(api: Api, shelf: Shelf) -> None:
    """The clients of TypeSafe and Ollama cannot represent an abstention, so the reply is an error."""
    shelf.classifier()
    reply = send(api, {"x-abstain-below": "0.999"})
    assert (reply.status_code, reply.headers["x-error-code"]) == (422, "abstained")
    assert "POST /v1/decisions" in reply.json()["error"]


@pytest.mark.parametrize(
    ("change", "status", "loc", "message"),
    [
        ({"questions": {}}, 422, ["body", "questions"], "must have at least 1 field"),
        ({"questions": {"q": {"type": "box"}}}, 422, ["body", "questions", "type"], "box"),
        ({"questions": {"q": {"type": "choice", "criteria": {"postive": None}}}}, 422,
         ["body", "questions", "q", "criteria"], "did you mean 'positive'"),
        ({"state": None}, 422, ["body", "state"], "must be a string, an object or a list, not null"),
        ({"assets": {"a": {"type": "image"}}}, 422, ["body", "assets"], "not supported"),
        ({"model": "nobody"}, 404, ["body", "model"], "nobody"),
        ({"state": "x" * 200}, 422, ["body", "state"], "truncate_prompt_tokens"),
    ],
)  # fmt: skip
def test_refusals(api: Api, shelf: Shelf, change: dict[str, Any], status: int, loc: list[str], message: str) -> None:
    shelf.classifier()
    reply = send(api, **change)
    assert reply.status_code == status, reply.text
    [fault] = reply.json()["detail"]
    assert fault["loc"] == loc and message in fault["msg"] == reply.json()["error"]
