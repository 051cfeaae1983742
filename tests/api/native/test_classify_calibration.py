"""`/v1/classify` with and without a calibration."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from app.checkpoint import directory as checkpoint
from app.checkpoint.calibration import FILE, Calibration, ConformalScores, RiskLevel
from tests.api.native.test_classify import softmax
from tests.checkpoint.test_calibration import calibration
from tests.checkpoints import make_checkpoint, publish
from tests.fakes import FakeEngine, fake_scores
from tests.serving import LABELS, Api, Shelf, byte_tokenizer

LEVELS = [RiskLevel(0.9, 0.5, 0.01, 0.04), RiskLevel(0.2, 1.0, 0.1, 0.15)]
MADE = calibration(
    rows=1000,
    scale=[0.5],
    bias=[0.0, 0.25, -0.25],
    scores=ConformalScores(9, [n / 10 for n in range(1, 10)]),
    risk=LEVELS,
)


def put(shelf: Shelf, name: str, made: Calibration, **config: Any) -> None:
    directory = make_checkpoint(
        shelf._scratch / name, **{"labels": LABELS, "vocab_size": byte_tokenizer().vocab_size} | config
    )
    byte_tokenizer().save(directory)
    checkpoint.write_json(directory / FILE, msgspec.to_builtins(made))
    publish(shelf.registry, directory, name, "local")


def one(api: Api, **body: Any) -> dict[str, Any]:
    with api.client() as client:
        reply = client.post("/v1/classify", json={"model": "mood", "input": "good day"} | body)
    assert reply.status_code == 200, reply.text
    item: dict[str, Any] = reply.json()["data"][0]
    return item


def test_probabilities_are_calibrated_by_default(api: Api, shelf: Shelf) -> None:
    put(shelf, "mood", MADE)
    logits = fake_scores(byte_tokenizer().encode("good day"), 3)
    scaled = [x * 0.5 + b for x, b in zip(logits, MADE.bias, strict=True)]
    assert one(api)["probs"] == one(api, calibrated=True)["probs"] == pytest.approx(softmax(scaled))
    assert one(api, use_activation=False)["probs"] == pytest.approx(scaled)
    assert one(api, calibrated=False)["probs"] == pytest.approx(softmax(logits))
    assert one(api, calibrated=False, use_activation=False)["probs"] == logits
    assert not {"set", "interval", "abstained"} & set(one(api))


def test_many_rows_equal_single_ones(api: Api, shelf: Shelf) -> None:
    put(shelf, "mood", MADE)
    texts = [f"text {i}" for i in range(1500)]
    body = {"model": "mood", "input": texts, "prediction_set": 0.5}
    with api.client() as client:
        many = client.post("/v1/classify", json=body).json()["data"]
    assert many[7] == one(api, input=texts[7], prediction_set=0.5) | {"index": 7}


def test_sets_and_abstention(api: Api, shelf: Shelf) -> None:
    put(shelf, "mood", MADE)
    item = one(api, prediction_set=0.8)
    assert item["set"] == [s["label"] for s in item["scores"] if 1 - s["score"] <= 0.8] and "abstained" not in item
    unsure = one(api, max_risk=0.05, top_k=1)
    assert unsure["abstained"] is True and unsure["label"] is None and len(unsure["scores"]) == 1
    sure = one(api, abstain_below=0.1)
    assert sure["abstained"] is False and sure["label"] == sure["scores"][0]["label"]


def test_several_labels_and_values(api: Api, shelf: Shelf, engine: FakeEngine) -> None:
    put(shelf, "tags", MADE, task="multilabel")
    put(shelf, "score", calibration(scale=[]), task="regression", labels=(), classes=1)
    tagged = one(api, model="tags", abstain_below=1.0, prediction_set=0.9)
    assert tagged["abstained"] and tagged["labels"] is None and set(tagged["set"]) == set(LABELS)
    engine.classes = 1
    item = one(api, model="score", prediction_set=0.7)
    assert item["interval"] == [item["value"] - 0.3, item["value"] + 0.3] and "set" not in item


def test_a_version_without_a_calibration_says_what_is_missing(api: Api, shelf: Shelf, engine: FakeEngine) -> None:
    shelf.classifier()
    with api.client() as client:
        for field, value in (("max_risk", 0.1), ("prediction_set", 0.9), ("calibrated", True)):
            reply = client.post("/v1/classify", json={"model": "mood", "input": "a", field: value})
            error = reply.json()["error"]
            assert reply.status_code == 400 and (error["code"], error["param"]) == ("no_calibration", field)
            assert "Train the model again" in error["message"]
        for field, value in (("max_risk", 1.0), ("prediction_set", 0), ("abstain_below", -0.1), ("max_risk", "a")):
            reply = client.post("/v1/classify", json={"model": "mood", "input": "a", field: value})
            assert reply.status_code == 400 and reply.json()["error"]["param"] == field
    assert not engine.received, "they are refused before the engine works"
    assert one(api)["probs"] == pytest.approx(softmax(fake_scores(byte_tokenizer().encode("good day"), 3)))
