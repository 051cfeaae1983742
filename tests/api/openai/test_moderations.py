"""`/v1/moderations` with OpenAI's client: the labels of a multilabel version, and rejected requests."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from app.inference.scoring import sigmoid
from tests.api.clients import sdk
from tests.fakes import fake_scores
from tests.serving import LABELS, Api, Shelf, byte_tokenizer


def scores(text: str) -> dict[str, float]:
    return dict(zip(LABELS, sigmoid(fake_scores(byte_tokenizer().encode(text), len(LABELS))), strict=True))


def shelve(shelf: Shelf, **config: Any) -> None:
    shelf.classifier("tags", task="multilabel", **config)


def test_each_text_has_a_score_for_each_label(api: Api, shelf: Shelf) -> None:
    shelve(shelf)
    reply: Any = sdk(api).moderations.create(model="tags", input=["good day", "bad"])
    assert reply.id.startswith("modr-") and reply.model == "tags"
    for text, result in zip(("good day", "bad"), reply.results, strict=True):
        expected = scores(text)
        assert result.category_scores.to_dict() == pytest.approx(expected)
        assert result.categories.to_dict() == {label: score >= 0.5 for label, score in expected.items()}
        assert result.flagged is any(score >= 0.5 for score in expected.values())
    assert {result.flagged for result in reply.results} != {False}


def test_the_threshold_is_that_of_the_version(api: Api, shelf: Shelf) -> None:
    shelve(shelf, threshold=0.0)
    [result] = sdk(api).moderations.create(model="tags", input="good day").results
    assert set(result.categories.to_dict().values()) == {True} and result.flagged


def test_parts_are_one_text(api: Api, shelf: Shelf) -> None:
    shelve(shelf)
    parts: Any = [{"type": "text", "text": "good"}, {"type": "text", "text": "day"}]
    [result] = sdk(api).moderations.create(model="tags", input=parts).results
    assert result.category_scores.to_dict() == pytest.approx(scores("good\nday"))


@pytest.mark.parametrize(
    ("change", "param", "message"),
    [
        ({"model": "mood"}, "model", "requires a multilabel version"),
        ({"input": [{"type": "image_url", "image_url": {"url": "data:,"}}]}, "input[0].type", "send only parts"),
        ({"input": [{"type": "text"}]}, "input[0].text", "is missing"),
        ({"input": ["a", {"type": "text", "text": "b"}]}, "input", "mixes texts"),
        ({"input": []}, "input", "input must have at least 1 item"),
        ({"input": "x" * 200}, "input", "truncate_prompt_tokens"),
    ],
)
def test_refusals(api: Api, shelf: Shelf, change: dict[str, Any], param: str, message: str) -> None:
    shelve(shelf)
    shelf.classifier()
    with pytest.raises(openai.BadRequestError, match=message) as refused:
        sdk(api).moderations.create(**{"model": "tags", "input": "good day"} | change)
    assert refused.value.param == param


def test_a_reply_is_bounded(api: Api, shelf: Shelf) -> None:
    labels = tuple(f"label {i}" for i in range(1000))
    shelf.classifier("wide", task="multilabel", labels=labels)
    with pytest.raises(openai.BadRequestError, match="1,000,000") as refused:
        sdk(api).moderations.create(model="wide", input=["a"] * 501)
    assert refused.value.code == "reply_too_large"
