"""`/v1/systemone` with TypeSafe's client: each type of question, compressed states, the list of models, and errors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import typesafe_sdk

from tests.api.decisions.test_decisions import logits
from tests.api.native.test_classify import softmax
from tests.serving import LABELS, Api, Shelf

QUESTIONS: dict[str, Any] = {
    "neutral": typesafe_sdk.Noul(instructions="Is it neutral?"),
    "tone": typesafe_sdk.Choice(criteria={"positive": "praise", "neutral": None}),
    "mood": typesafe_sdk.Score(criteria=list(LABELS)),
}


@pytest.fixture
def client(api: Api, shelf: Shelf) -> Iterator[typesafe_sdk.TypeSafeClient]:
    shelf.classifier()
    with typesafe_sdk.TypeSafeClient(base_url=api.url, api_key="none") as typesafe_client:
        yield typesafe_client


def test_each_type_of_question_has_its_answer(client: typesafe_sdk.TypeSafeClient) -> None:
    result = client.system_one(model="mood", state="good day", questions=QUESTIONS)
    probs, tone = softmax(logits()), softmax([logits()[2], logits()[1]])
    assert result.nouls["neutral"].noul == pytest.approx(probs[1])
    assert result.scores["mood"].score == pytest.approx(probs[1] + 2 * probs[2])
    chosen = result.choices["tone"]
    assert chosen.choice == ("positive", "neutral")[tone.index(max(tone))]
    assert chosen.confidence == pytest.approx(2 * max(tone) - 1)
    assert result.request_id


def test_a_compressed_state_has_the_answer_of_the_same_state(api: Api, client: typesafe_sdk.TypeSafeClient) -> None:
    """By default, the client compresses long bodies with zstd."""
    asked: dict[str, Any] = {"model": "mood", "state": "good day " * 400, "questions": QUESTIONS}
    asked["extra_body"] = {"truncate_prompt_tokens": -1}
    with typesafe_sdk.TypeSafeClient(base_url=api.url, api_key="none", compression=False) as plain:
        assert client.system_one(**asked).answers == plain.system_one(**asked).answers


def test_every_listed_model_can_be_asked(client: typesafe_sdk.TypeSafeClient) -> None:
    names = [model.name for model in client.models.list().models]
    assert "mood" in names
    for name in names:
        assert client.system_one(model=name, state="good day", questions=QUESTIONS).nouls["neutral"].noul > 0


def test_its_errors_name_what_is_wrong(client: typesafe_sdk.TypeSafeClient) -> None:
    with pytest.raises(typesafe_sdk.TypeSafeNotFoundError, match="model not found: 'nobody'"):
        client.system_one(model="nobody", state="good day", questions=QUESTIONS)
    unknown = {"tone": typesafe_sdk.Choice(criteria={"positiv": None, "neutral": None})}
    with pytest.raises(typesafe_sdk.TypeSafeUnprocessableEntityError, match="did you mean 'positive'"):
        client.system_one(model="mood", state="good day", questions=unknown)
    with pytest.raises(typesafe_sdk.TypeSafeUnprocessableEntityError, match="abstained"):
        client.system_one(
            model="mood", state="good day", questions=QUESTIONS, extra_headers={"x-abstain-below": "0.999"}
        )
