"""`/v1/decisions`: answers to each type of question in OpenAI's format, and rejected requests."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from app.checkpoint.calibration import RiskLevel
from app.registry.records import Abstention
from tests.api.native.test_classify import softmax
from tests.api.native.test_classify_calibration import MADE, put
from tests.checkpoint.test_calibration import calibration
from tests.fakes import FakeEngine, fake_scores
from tests.serving import LABELS, Api, Shelf, byte_tokenizer, wait_until

TONE = {"type": "choice", "instructions": "?", "name": "tone", "choices": [{"value": "positive"}, {"value": "neutral"}]}


def ask(api: Api, *questions: dict[str, Any], headers: dict[str, str] | None = None, **body: Any) -> httpx.Response:
    sent = {"model": "mood", "input": "good day", "questions": questions} | body
    with api.client() as client:
        return client.post("/v1/decisions", json=sent, headers=headers)


def logits(text: str = "good day") -> list[float]:
    return fake_scores(byte_tokenizer().encode(text), len(LABELS))


def test_each_type_of_question_has_its_answer(api: Api, shelf: Shelf, engine: FakeEngine) -> None:
    shelf.classifier()
    predicate = {"type": "predicate", "instructions": [{"type": "input_text", "text": "?"}], "name": "neutral"}
    levels = [{"label": "negative", "description": "bad"}, {"label": "neutral"}, {"label": "positive"}]
    score = {"type": "score", "instructions": "?", "levels": levels}
    reply = ask(api, predicate, TONE, score)
    assert reply.status_code == 200, reply.text
    probs = softmax(logits())
    tone = softmax([logits()[2], logits()[1]])
    best = max(tone)
    assert reply.json() == {
        "model": "mood",
        "answers": [
            {"type": "predicate", "name": "neutral", "probability": pytest.approx(probs[1])},
            {
                "type": "choice", "name": "tone", "choice": ("positive", "neutral")[tone.index(best)],
                "confidence": pytest.approx(2 * best - 1),
                "probabilities": [
                    {"value": "positive", "probability": pytest.approx(tone[0])},
                    {"value": "neutral", "probability": pytest.approx(tone[1])},
                ],
            },
            {
                "type": "score", "name": None, "score": pytest.approx(probs[1] + 2 * probs[2]),
                "confidence": pytest.approx((max(probs) - 1 / 3) / (2 / 3)),
                "probabilities": [
                    {"label": label, "value": i, "probability": pytest.approx(probs[i])}
                    for i, label in enumerate(LABELS)
                ],
            },
        ],
        "usage": {
            "input_tokens": 8, "total_tokens": 8, "output_tokens": 0,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens_details": {"reasoning_tokens": 0},
        },
    }  # fmt: skip
    assert reply.headers["x-model-version"] == "mood:1" and reply.headers["x-prompt-tokens"] == "8"
    assert len(engine.wait_for(type(engine.received[-1]))) == 1  # the version reads the input once


def test_the_order_of_questions_and_options_changes_no_bit(api: Api, shelf: Shelf) -> None:
    shelf.classifier()
    turned = TONE | {"choices": TONE["choices"][::-1]}  # type: ignore[index]
    first, second = ask(api, TONE, turned).json()["answers"]
    assert first["probabilities"] == second["probabilities"][::-1]
    assert (first["choice"], first["confidence"]) == (second["choice"], second["confidence"])


def test_booleans_are_answered_with_booleans(api: Api, shelf: Shelf, engine: FakeEngine) -> None:
    engine.classes = 2
    shelf.classifier(labels=("no", "yes"))
    choice = {"type": "choice", "instructions": "?", "choices": [{"value": True}, {"value": False}]}
    [answer, predicate] = ask(api, choice, {"type": "predicate", "instructions": "?"}).json()["answers"]
    assert [share["value"] for share in answer["probabilities"]] == [True, False]
    assert answer["choice"] is (answer["probabilities"][0]["probability"] >= 0.5)
    assert predicate["probability"] == answer["probabilities"][0]["probability"]


def test_messages_are_read_as_their_text(api: Api, shelf: Shelf, engine: FakeEngine) -> None:
    shelf.classifier()
    plain = ask(api, TONE).json()
    assert ask(api, TONE, input=[{"role": "user", "content": "good day"}]).json() == plain
    cached = {"prompt_cache_key": "k", "prompt_cache_options": {"ttl": "30m"}, "safety_identifier": "u"}
    assert ask(api, TONE, **cached).json() == plain
    long = ask(api, TONE, input="x" * 200, truncate_prompt_tokens=-1)
    assert long.json()["usage"]["input_tokens"] == 64


@pytest.mark.parametrize(
    ("change", "status", "param", "message"),
    [
        ({"questions": []}, 400, "questions", "must have at least 1 item"),
        ({"questions": [TONE] * 401}, 400, "questions", "must have at most 400 items"),
        ({"questions": [{"type": "essay", "instructions": "?"}]}, 400, "questions[0].type", "essay"),
        ({"questions": [TONE | {"choices": [{"value": "positive"}]}]}, 400, "questions[0].choices", "at least 2 items"),
        ({"questions": [TONE | {"choices": [{"value": "positve"}, {"value": "neutral"}]}]}, 400,
         "questions[0].choices", "did you mean 'positive'"),
        ({"questions": [{"type": "predicate", "instructions": "?"}]}, 400, "questions[0]", "does not specify a label"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "data:,"}]}]}, 400,
         "input[0].content[0].type", "send text"),
        ({"input": "x" * 200}, 400, "input", "truncate_prompt_tokens"),
        ({"input": " "}, 400, "input", "is empty"),
        ({"model": "echo"}, 400, "model", "generates text"),
        ({"model": "nobody"}, 404, "model", "nobody"),
        ({"stream": True}, 400, "stream", "stream is not supported"),
    ],
)  # fmt: skip
def test_refusals(api: Api, shelf: Shelf, change: dict[str, Any], status: int, param: str, message: str) -> None:
    shelf.classifier()
    shelf.generator()
    reply = ask(api, TONE, **change)
    error = reply.json()["error"]
    assert (reply.status_code, error["param"]) == (status, param), error
    assert message in error["message"]


def test_an_uncertain_version_refuses_if_it_is_asked_to(api: Api, shelf: Shelf) -> None:
    certain = max(softmax([x * 0.5 + b for x, b in zip(logits(), MADE.bias, strict=True)]))
    put(shelf, "mood", MADE)
    for share, kind in ((certain - 0.01, "choice"), (certain + 0.01, "refusal")):
        [answer] = ask(api, TONE, headers={"x-abstain-below": str(share)}).json()["answers"]
        assert (answer["type"], answer["name"]) == (kind, "tone")
    put(shelf, "wary", calibration(rows=1000, scale=[0.5], risk=[RiskLevel(0.999, 0.1, 0.01, 0.04)]))
    wary = ask(api, TONE, model="wary", headers={"x-max-risk": "0.08"})
    assert wary.status_code == 200, wary.text
    assert wary.json()["answers"] == [{"type": "refusal", "name": "tone"}]
    for header, sent, message in (
        ("x-max-risk", "1e-3", "x-max-risk is 0.001, but"),
        ("x-max-risk", "much", "the header x-max-risk must be a number between 0 and 1"),
        ("x-abstain-below", "nan", "the header x-abstain-below must be a number"),
    ):
        reply = ask(api, TONE, model="wary", headers={header: sent})
        assert reply.status_code == 400 and reply.json()["error"]["param"] == header, reply.text
        assert message in reply.json()["error"]["message"]


def test_an_alias_abstains_by_its_own_setting(api: Api, shelf: Shelf) -> None:
    certain = max(softmax([x * 0.5 + b for x, b in zip(logits(), MADE.bias, strict=True)]))
    put(shelf, "mood", MADE)
    path = "/v1/registry/models/mood/aliases/wary"
    with api.client() as client:
        for share, kind in ((certain - 0.01, "choice"), (certain + 0.01, "refusal")):
            moved = client.put(path, json={"version": 1, "abstention": {"abstain_below": share}}).json()
            assert moved["abstention"] == {"abstain_below": share, "max_risk": None}
            wait_until(lambda kind=kind: ask(api, TONE, model="mood@wary").json()["answers"][0]["type"] == kind)  # type: ignore[misc]
        assert ask(api, TONE).json()["answers"][0]["type"] == "choice"  # by the name, not by the alias
        header = {"x-abstain-below": "0.01"}  # a header replaces the setting of the alias
        assert ask(api, TONE, model="mood@wary", headers=header).json()["answers"][0]["type"] == "choice"
        body = {"model": "mood@wary", "state": "good day", "questions": {"neutral": {"type": "noul"}}}
        refused = client.post("/v1/systemone", json=body)
        assert (refused.status_code, refused.headers["x-error-code"]) == (422, "abstained"), refused.text
        history = client.get(f"{path}/history").json()["data"]
        assert [move["abstention"]["abstain_below"] for move in history] == [certain + 0.01, certain - 0.01]
        assert client.put(path, json={"version": 1, "abstention": None}).json()["abstention"] is None
        for wrong in ({"abstain_below": 1.5}, {"max_risk": 0}, {"below": 0.5}):
            assert client.put(path, json={"version": 1, "abstention": wrong}).status_code == 400


def test_an_alias_that_moves_to_a_version_without_calibration_says_what_is_missing(api: Api, shelf: Shelf) -> None:
    put(shelf, "wary", calibration(rows=1000, scale=[0.5], risk=[RiskLevel(0.999, 0.1, 0.01, 0.04)]))
    shelf.classifier("wary")
    shelf.registry.set_alias("wary", "champion", 1, "local", abstention=Abstention(max_risk=0.08))
    assert ask(api, TONE, model="wary").json()["answers"] == [{"type": "refusal", "name": "tone"}]
    shelf.registry.set_alias("wary", "champion", 2, "local")
    wait_until(lambda: ask(api, TONE, model="wary").status_code == 400)
    error = ask(api, TONE, model="wary").json()["error"]
    assert (error["code"], error["param"]) == ("no_calibration", "model")
    start = "the abstention of the alias cannot be applied: max_risk requires a calibration, but wary:2 has"
    assert error["message"].startswith(start)


def test_many_questions_are_answered_beside_the_event_loop(api: Api, shelf: Shelf, engine: FakeEngine) -> None:
    engine.classes = 255
    labels = tuple(f"label {i}" for i in range(255))
    shelf.classifier("many", labels=labels)
    choice = {"type": "choice", "instructions": "?", "choices": [{"value": label} for label in labels]}
    [alone] = ask(api, choice, model="many").json()["answers"]
    for count in (9, 400):
        assert ask(api, *[choice] * count, model="many").json()["answers"] == [alone] * count
