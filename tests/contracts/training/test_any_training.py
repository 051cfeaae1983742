"""After random training runs of ten steps, the engine computes the same outputs as the trained network."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.tokenization.tokenizer import Tokenizer
from app.wire.trainer import Done, Metrics
from models.choices import NETWORKS, RECURRENT
from tests.training import runs
from tests.training.served import ServedCheckpoint, near, plain_logprobs, plain_scores

SENTENCES = list(runs.sentences(36))
TEXTS = [text for text, _ in SENTENCES[:3]]


def jsonl(rows: list[dict[str, Any]]) -> str:
    return "\n".join(map(json.dumps, rows))


def steps_of(n: int) -> list[list[float]]:
    return [[round(0.37 * ((n * 5 + t * 3 + f) % 11) * 10**f, 2) for f in range(3)] for t in range(2 + n % 5)]


TEXTS_TO_CONTINUE, INPUTS = ["plain", "documents", "completions", "chat"], ["text", "pair", "features", "series"]
TARGETS: dict[str, Any] = {
    "classification": lambda n: {"label": "abc"[n % 3]},
    "multilabel": lambda n: {"label": [name for bit, name in enumerate("xyz") if n >> bit & 1]},
    "regression": lambda n: {"value": 100.0 + 7 * (n % 5)},
}


def rows(task: str, kind: str) -> tuple[str, str]:
    """The name and content of a training file for any task except generation."""
    table = []
    for n, (text, _) in enumerate(SENTENCES):
        inputs = {"features": steps_of(n)} if kind == "features" else {"text": text}
        table.append(inputs | TARGETS[task](n) | ({"text_pair": text[::-1]} if kind == "pair" else {}))
    if kind != "series":
        return "a.jsonl", jsonl(table)
    flat = []
    for n, row in enumerate(table):
        (column, value) = next((k, v) for k, v in row.items() if k != "text")
        shown = "|".join(value) if isinstance(value, list) else value
        flat += [f"s{n},{t},{','.join(map(str, step))},{shown}" for t, step in enumerate(steps_of(n))]
    return "a.csv", "\n".join([f"series,time,x,y,z,{column}", *flat])


def text_file(kind: str) -> tuple[str, str]:
    """The name and content of a training file for generation."""
    if kind == "plain":
        return "a.txt", runs.book(60)
    if kind == "documents":
        return "a.jsonl", jsonl([{"text": text} for text, _ in SENTENCES])
    if kind == "completions":
        return "a.jsonl", jsonl([{"prompt": text[:9], "completion": text[9:]} for text, _ in SENTENCES])
    say = lambda text: {"role": "assistant", "content": text}  # noqa: E731
    return "a.jsonl", jsonl([{"messages": [{"role": "user", "content": t}, say("yes"), say(t)]} for t, _ in SENTENCES])


@st.composite
def trainings(draw: st.DrawFn) -> dict[str, Any]:
    """The data file, model and settings of a training."""
    model, task = draw(st.sampled_from(NETWORKS)), draw(st.sampled_from(["generation", *TARGETS]))
    kind = draw(st.sampled_from(TEXTS_TO_CONTINUE if task == "generation" else INPUTS))
    training: dict[str, Any] = {"layers": draw(st.integers(1, 2)), "batch_size": draw(st.sampled_from([3, 8]))}
    choices: dict[str, st.SearchStrategy[Any]] = {
        "context_length": st.sampled_from([4, 16, 40]),
        "accumulation": st.just(2),
        "dropout": st.sampled_from([0.0, 0.3]),
        "schedule": st.sampled_from(["cosine", "linear", "constant", "plateau"]),
        "optimizer": st.sampled_from(["adamw", "muon", "sgd"]),
        "learning_rate": st.sampled_from([1e-4, 2e-2]),
    }
    if task != "generation":
        choices["pooling"] = st.sampled_from(["last", "last_step", "mean", "max", "attention"])
        if model in RECURRENT:
            choices["bidirectional"] = st.booleans()
    if task in ("classification", "multilabel"):
        choices["class_weights"] = st.just("balanced")
    if task != "regression":
        choices["label_smoothing"] = st.just(0.2)
    if kind not in ("features", "series"):
        training["tokenizer"] = draw(st.sampled_from(["bpe", "char", "byte"]))
    training |= {name: draw(values) for name, values in choices.items() if draw(st.booleans())}
    training["width"] = draw(st.sampled_from([8, 16]))
    if model == "transformer" and draw(st.booleans()):
        training |= {"heads": 4, "kv_heads": draw(st.sampled_from([1, 2, 4]))}
    name, content = text_file(kind) if task == "generation" else rows(task, kind)
    return {"name": name, "content": content, "model": model, "task": task, "training": training}


@settings(max_examples=25)
@given(spec=trainings(), seed=st.integers(0, 2**31 - 1))
def test_the_engine_serves_what_any_training_exports(spec: dict[str, Any], seed: int) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr("app.training.report.plots.draw", lambda *_: None)  # drawing takes longer than the training
        options = {"max_steps": 10, "eval_every": 10, "precision": "float32"} | spec.pop("training")
        events = runs.train(runs.make(Path(folder), **spec, training=options, seed=seed))
        assert isinstance(events[-1], Done), events[-1]
        assert max(event.step for event in events if isinstance(event, Metrics)) == 10
        checkpoint = Path(folder) / "checkpoint"
        served, config = ServedCheckpoint(checkpoint), json.loads((checkpoint / "config.json").read_text())
        inputs: list[Any] = [steps_of(n) for n in range(3)]
        if config["input"] == "tokens":
            inputs = Tokenizer.load(checkpoint).encode_batch(TEXTS)
        inputs = [row[: config["context_length"] - 1] for row in inputs]
        if config["task"] == "generation":
            assert all(near(served.logprobs(ids), plain_logprobs(checkpoint, ids)) for ids in inputs)
        else:
            assert near(served.scores(inputs), plain_scores(checkpoint, inputs))
