"""`/v1/systemone` with Ollama's client."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import ollama
import pytest

from tests.serving import LABELS, Api, Shelf

QUESTIONS: dict[str, Any] = {
    "neutral": {"type": "noul", "instructions": "Is it neutral?"},
    "tone": {
        "type": "choice",
        "instructions": "What is the tone?",
        "criteria": {"positive": "praise", "neutral": None},
    },
    "mood": {"type": "score", "instructions": "How good is the mood?", "criteria": list(LABELS)},
}


@pytest.fixture
def client(api: Api, shelf: Shelf) -> Iterator[ollama.Client]:
    shelf.classifier()
    with ollama.Client(host=api.url, timeout=60) as ollama_client:
        yield ollama_client


def test_every_listed_name_can_be_asked(client: ollama.Client) -> None:
    names = [str(model.model) for model in client.list().models]
    assert names == ["mood:latest", "mood:1"]
    replies = [client.systemone(name, "good day", QUESTIONS, keep_alive="5m") for name in names]
    assert [reply.model for reply in replies] == names
    assert replies[0].answers == replies[1].answers
    answers = replies[0].answers
    assert answers is not None and [answers[name].type for name in QUESTIONS] == ["noul", "choice", "score"]


def test_an_uncertain_version_answers_with_an_error(api: Api, client: ollama.Client) -> None:
    """The answers of System One cannot represent an abstention, so the reply is an error."""
    with ollama.Client(host=api.url, headers={"x-abstain-below": "0.001"}) as certain:
        assert certain.systemone("mood", "good day", QUESTIONS).answers
    with (
        ollama.Client(host=api.url, headers={"x-abstain-below": "0.999"}) as uncertain,
        pytest.raises(ollama.ResponseError, match=r"abstained.*POST /v1/decisions") as refused,
    ):
        uncertain.systemone("mood", "good day", QUESTIONS)
    assert refused.value.status_code == 422
