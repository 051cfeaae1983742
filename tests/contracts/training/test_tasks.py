"""Trains a small network for each task with few steps, from a data file to a checkpoint that can be loaded."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from app.checkpoint import directory as checkpoint
from app.tokenization.pieces import pieces
from app.tokenization.tokenizer import Tokenizer
from app.wire import shortage
from app.wire.probes import MOST, VALIDATION, decode
from app.wire.trainer import Broke, CheckpointSaved, Done, Metrics, Note, Phase, TrainEvent, TrainFailed
from models.choices import NETWORKS
from models.interface import Context
from models.linear import LinearClassifier
from models.tasks import Classifier, LanguageModel, build
from tests.training import runs
from tests.training.served import ServedCheckpoint

pytestmark = pytest.mark.long

SMALL = {"width": 16, "layers": 1, "max_steps": 8, "batch_size": 16}


def done(events: list[TrainEvent]) -> Done:
    assert isinstance(events[-1], Done), events[-1]
    return events[-1]


def failed(events: list[TrainEvent]) -> TrainFailed:
    assert isinstance(events[-1], TrainFailed), events[-1]
    return events[-1]


def loaded(directory: Path) -> LanguageModel | Classifier:
    network = build(checkpoint.validate(directory).config, initialised=False)
    assert not isinstance(network, LinearClassifier)
    network.load_state_dict(load_file(directory / "model.safetensors"))
    if isinstance(network, Classifier) and network.ngrams is not None:
        network.ngrams.bind_tokens(pieces(Tokenizer.load(directory)))
    return network.eval()


@pytest.mark.parametrize("model", NETWORKS)
def test_classification_learns(model: str, tmp_path: Path) -> None:
    training = {"width": 32, "epochs": 25, "batch_size": 16, "learning_rate": 5e-3}
    run = runs.make(tmp_path, "rows.csv", runs.table(), model, training=training)
    events = runs.train(run)
    metrics = done(events).metrics["validation"]
    assert metrics["accuracy"] >= 0.9
    probes = decode((run / str(done(events).probes)).read_bytes())
    assert probes is not None and probes.source == VALIDATION and 0 < len(probes) <= MOST
    assert set(metrics) >= {"accuracy", "macro_f1", "loss", "per_class", "confusion_matrix"}
    assert sum(map(sum, metrics["confusion_matrix"])) == sum(c["support"] for c in metrics["per_class"].values())

    contents = checkpoint.validate(run / "checkpoint")
    assert contents.labels == ["bad", "good"] and contents.config.architecture == model
    network, tokenizer = loaded(run / "checkpoint"), Tokenizer.load(run / "checkpoint")
    ids = tokenizer.encode("seven grey geese walk home lovely")
    with torch.no_grad():
        logits_1C = network(torch.tensor([ids]), torch.tensor([len(ids)]))
    assert contents.labels[int(logits_1C.argmax())] == "good"

    phases = [event.phase for event in events if isinstance(event, Phase)]
    assert phases == ["validating_files", "training", "evaluating", "publishing"]
    keys = [event.step for event in events if isinstance(event, Metrics)]
    assert keys == sorted(set(keys)) and len(keys) <= 200
    for event in events:
        if isinstance(event, CheckpointSaved):
            checkpoint.validate(run / event.directory)


def test_a_checkpoint_has_all_its_files(tmp_path: Path) -> None:
    table = "text,label,split\n" + "".join(
        f"{text},{label},{('train', 'val', 'train', 'test')[n // 2 % 4]}\n"
        for n, (text, label) in enumerate(runs.sentences(80))
    )
    run = runs.make(tmp_path, "rows.csv", table, training=SMALL)
    result = done(runs.train(run))
    assert set(result.metrics) == {"validation", "test"}
    assert sum(map(sum, result.metrics["test"]["confusion_matrix"])) == 20
    names = set(checkpoint.manifest(run / "checkpoint"))
    assert names == {
        *("config.json", "model.safetensors", "tokenizer.json", "labels.json", "training.json", "README.md"),
        *("metrics.json", "results.csv", "calibration.json", "plots/reliability.svg"),
        *("plots/loss.svg", "plots/lengths.svg", "plots/confusion_validation.svg", "plots/confusion_test.svg"),
    }
    assert json.loads((run / "checkpoint" / "metrics.json").read_text()) == result.metrics
    header, *rows = (run / result.results).read_text().splitlines()
    assert header == "step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy"
    assert len(rows) == 8
    card = (run / "checkpoint" / "README.md").read_text()
    assert "macro F1" in card and "40 train" in card


def test_test_rows_influence_nothing(tmp_path: Path) -> None:
    """Runs with different test rows have the same weights, and their tokenizers contain no letters of these rows."""
    rows = [f"{text},{label},{('train', 'val')[n % 6 == 0]}" for n, (text, label) in enumerate(runs.sentences(60))]
    digests = set()
    for name, extra in (("a", ["zzzqqq zzzqqq,good,test"] * 3), ("b", ["plain,bad,test"])):
        content = "\n".join(["text,label,split", *rows, *extra])
        run = runs.make(tmp_path / name, "rows.csv", content, training=SMALL)
        done(runs.train(run))
        digests.add(runs.digest(run))
    assert len(digests) == 1


def test_multilabel_learns(tmp_path: Path) -> None:
    content = "text,label\n" + "".join(
        f"{t} {'red' * (n % 3 == 0)},{'|'.join([m] + ['colour'] * (n % 3 == 0))}\n"
        for n, (t, m) in enumerate(runs.sentences(240))
    )
    training = {"width": 32, "epochs": 25, "batch_size": 16, "learning_rate": 5e-3}
    run = runs.make(tmp_path, "rows.csv", content, "gru", task="multilabel", training=training)
    metrics = done(runs.train(run)).metrics["validation"]
    assert set(metrics["per_class"]) == {"bad", "colour", "good"}
    assert metrics["macro_f1"] > 0.85 and metrics["micro_f1"] > 0.85 and metrics["accuracy"] > 0.7
    assert min(label["f1"] for label in metrics["per_class"].values()) > 0.75
    assert json.loads((run / "checkpoint" / "config.json").read_text())["threshold"] == 0.5


def test_regression_in_the_units_of_the_data(tmp_path: Path) -> None:
    content = "text,value\n" + "".join(
        f"{text},{1000 + 50 * (label == 'good')}\n" for text, label in runs.sentences(240)
    )
    training = {"width": 32, "epochs": 30, "learning_rate": 5e-3}
    run = runs.make(tmp_path, "rows.csv", content, training=training)
    metrics = done(runs.train(run)).metrics["validation"]
    assert metrics["r2"] > 0.6 and metrics["mae"] < 20
    target = json.loads((run / "checkpoint" / "config.json").read_text())["target"]
    assert 1015 < target["mean"] < 1035 and 20 < target["std"] < 30


@pytest.mark.parametrize("model", ["gru", "transformer"])
def test_the_second_text_of_a_pair_is_read(model: str, tmp_path: Path) -> None:
    """The first text does not determine the label, because each first text has rows with both labels."""
    firsts = [f"{word} and lovely or awful" for word in runs.WORDS]
    rows = (f"{firsts[n // 2 % 18]},{text},{label}\n" for n, (text, label) in enumerate(runs.sentences(240)))
    training = {"width": 32, "epochs": 20, "batch_size": 16, "learning_rate": 5e-3}
    run = runs.make(tmp_path, "rows.csv", "text,text_pair,label\n" + "".join(rows), model, training=training)
    assert done(runs.train(run)).metrics["validation"]["accuracy"] > 0.85


@pytest.mark.parametrize("model", NETWORKS)
def test_classification_of_features_learns(model: str, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    rows = []
    for n in range(200):
        steps_TF = random.normal(size=(3 + n % 5, 2)) * [1.0, 100.0] + [0.0, 5000.0]
        steps_TF[:, 1] += 200.0 * (n % 2)
        rows.append({"features": steps_TF.tolist(), "label": ("low", "high")[n % 2]})
    training = {"width": 16, "epochs": 15, "batch_size": 16, "learning_rate": 1e-2}
    run = runs.make(tmp_path, "rows.jsonl", "\n".join(map(json.dumps, rows)), model, training=training)
    assert done(runs.train(run)).metrics["validation"]["accuracy"] >= 0.85
    config = json.loads((run / "checkpoint" / "config.json").read_text())
    assert config["input"] == "features" and 5000 < config["normalization"]["mean"][1] < 5200
    assert not (run / "checkpoint" / "tokenizer.json").exists()


def series(count: int, target: str) -> list[dict[str, Any]]:
    """Sequences whose label or value depends only on their second number."""
    random, rows = np.random.default_rng(1), []
    for n in range(count):
        steps_TF = random.normal(size=(3 + n % 4, 2)) * [5.0, 0.1] + [0.0, 200.0 + n % 2]
        rows.append(
            {
                "features": steps_TF.round(4).tolist(),
                target: ("low", "high")[n % 2] if target == "label" else 70.0 * (n % 2),
            }
        )
    return rows


def as_file(kind: str, rows: list[dict[str, Any]], target: str) -> str | bytes:
    """The rows, encoded in a file format. CSV has one step per line, in reverse chronological order."""
    if kind == "jsonl":
        return "\n".join(map(json.dumps, rows))
    if kind == "parquet":
        out = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows), out)
        return out.getvalue()
    lines = [f"series,time,a,b,{target}"]
    for n, row in enumerate(rows):
        lines += [f"s{n},{-t},{a},{b},{row[target]}" for t, (a, b) in enumerate(reversed(row["features"]))]
    return "\n".join(lines)


@pytest.mark.parametrize("target", ["label", "value"])
@pytest.mark.parametrize("kind", ["jsonl", "parquet", "csv"])
def test_numbers_are_learned_from_every_format(kind: str, target: str, tmp_path: Path) -> None:
    training = {"width": 16, "epochs": 12, "batch_size": 16, "learning_rate": 1e-2}
    content = as_file(kind, series(160, target), target)
    run = runs.make(tmp_path, f"rows.{kind}", content, "gru", training=training)
    metrics = done(runs.train(run)).metrics["validation"]
    assert metrics["accuracy"] > 0.9 if target == "label" else metrics["r2"] > 0.8
    config = json.loads((run / "checkpoint" / "config.json").read_text())
    assert config["normalization"]["mean"][1] == pytest.approx(200.5, abs=0.1)
    assert config["normalization"]["std"] == pytest.approx([5.0, 0.51], rel=0.1)
    answers = np.asarray(ServedCheckpoint(run / "checkpoint").scores([[[1.0, 200.0]] * 4, [[1.0, 201.0]] * 4]))
    if target == "value":
        assert answers[0, 0] < 25 and answers[1, 0] > 45
    else:
        assert answers[0].argmax() == 1 and answers[1].argmax() == 0  # labels in the order of their names: high, low


@pytest.mark.parametrize("tokenizer", ["bpe", "char", "byte"])
@pytest.mark.parametrize("model", ["lstm", "transformer"])
def test_generation_is_measured_honestly(model: str, tokenizer: str, tmp_path: Path) -> None:
    """The bits per character count every held-out token once, and equal those of a single pass over the whole text."""
    text = runs.book(300)
    training = {**SMALL, "tokenizer": tokenizer, "context_length": 32, "precision": "float32"}
    run = runs.make(tmp_path, "book.txt", text, model, training=training)
    metrics = done(runs.train(run)).metrics["validation"]
    held_out = text[len(text) - round(len(text) * 0.1) :]
    assert metrics["characters"] == len(held_out)
    ids = Tokenizer.load(run / "checkpoint").encode(held_out)
    assert abs(metrics["tokens"] - len(ids)) <= 2
    bits = metrics["loss"] * metrics["tokens"] / math.log(2) / len(held_out)
    assert metrics["bits_per_character"] == pytest.approx(bits)
    if model == "lstm":  # a recurrent network has no maximum length, so one pass can read the whole text
        network = loaded(run / "checkpoint")
        assert isinstance(network, LanguageModel)
        ids_1T = torch.tensor([ids])
        with torch.no_grad():
            logits_TV = network.logits(network(ids_1T[:, :-1], Context()))[0]
        loss = torch.nn.functional.cross_entropy(logits_TV, ids_1T[0, 1:])
        assert metrics["loss"] == pytest.approx(float(loss), rel=0.02)


def test_documents_and_completions_learn(tmp_path: Path) -> None:
    documents = "\n".join(json.dumps({"text": text}) for text, _ in runs.sentences(100))
    run = runs.make(tmp_path / "documents", "rows.jsonl", documents, "gru", training={**SMALL, "context_length": 16})
    assert done(runs.train(run)).metrics["validation"]["bits_per_character"] > 0
    pairs = "\n".join(json.dumps({"prompt": t, "completion": f" {m}"}) for t, m in runs.sentences(200))
    training = {"width": 32, "layers": 1, "epochs": 25, "batch_size": 16, "learning_rate": 5e-3}
    run = runs.make(tmp_path / "completions", "rows.jsonl", pairs, "lstm", training=training)
    metrics = done(runs.train(run)).metrics["validation"]
    # Only the completion, a word and its end, is learned. The prompt cannot be predicted.
    assert metrics["accuracy"] > 0.8
    held_out = sum(c for c in (len(" good"), len(" bad")) for _ in range(10))
    assert abs(metrics["characters"] - held_out) <= 20


@pytest.mark.parametrize(
    ("training", "field"),
    [
        ({"width": 15}, "training.heads"),
        ({"width": 30, "heads": 4}, "training.heads"),
        ({"learning_rate": -1.0}, "training.learning_rate"),
        ({"epochs": 0}, "training.epochs"),
        ({"dropout": 1.0}, "training.dropout"),
        ({"schedule": "wavy"}, "training.schedule"),
        ({"vocab_size": 3}, "training.vocab_size"),
        ({"class_weights": {"neutral": 2.0}}, "training.class_weights"),
    ],
)
def test_impossible_options_are_refused(training: dict[str, Any], field: str, tmp_path: Path) -> None:
    run = runs.make(tmp_path, "rows.csv", runs.table(40), "transformer", training=training)
    last = failed(runs.train(run))
    assert (last.code, last.param) == ("invalid_hyperparameter", field)
    assert field in last.message


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("rows.csv", "text,label\n" + "".join(f"word {n},same\n" for n in range(20)), "at least two labels"),
        ("rows.csv", "text,label,split\na,x,test\nb,y,val\n", "no training rows"),
        ("rows.csv", "text,label,split\na,x,test\nb,y,test\n", "no training rows"),
        ("rows.csv", "text,label\n", "no usable rows"),
        ("rows.csv", "text,label,split\na,x,train\nb,y,train\nc,z,test\nd,x,val\n", "label 'z'"),
        ("book.txt", "ab", "too few"),
    ],
)
def test_data_without_anything_to_learn_is_refused(name: str, content: str, reason: str, tmp_path: Path) -> None:
    last = failed(runs.train(runs.make(tmp_path, name, content)))
    assert last.code == "invalid_training_file" and last.param == "training_file"
    assert reason in last.message


def test_faults_of_the_validation_file_are_reported_as_its_own(tmp_path: Path) -> None:
    for number, faulty in enumerate(("text,label\nx,y,z\n", "text,other\nx,y\n", "\xff", "")):
        content = faulty.encode("latin-1")
        run = runs.make(tmp_path / str(number), "a.csv", runs.table(40), validation=("held.csv", content))
        assert failed(runs.train(run)).code == "invalid_validation_file"
    run = runs.make(tmp_path / "good", "a.csv", runs.table(40), validation=("b.csv", runs.table(10)), training=SMALL)
    metrics = done(runs.train(run)).metrics["validation"]
    assert sum(map(sum, metrics["confusion_matrix"])) == 10


def test_a_diverging_training_keeps_its_best_checkpoint(tmp_path: Path) -> None:
    training = {"width": 16, "layers": 1, "max_steps": 400, "eval_every": 1, "warmup_ratio": 0.5}
    training |= {"learning_rate": 3.0, "learning_rate_multiplier": 1e4, "optimizer": "sgd", "max_grad_norm": 1e6}
    run = runs.make(tmp_path, "rows.csv", runs.table(), "transformer", training=training)
    last = failed(runs.train(run))
    assert last.code == "diverged" and last.param == "training.learning_rate"
    assert last.checkpoint is not None
    checkpoint.validate(run / last.checkpoint)


def test_a_lack_of_memory_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr("app.training.loop.loop.Training.step", fail)
    run = runs.make(tmp_path, "rows.csv", runs.table(40), training=SMALL)
    assert runs.train(run)[-1] == Broke(shortage.ENDED)  # the next attempt needs less memory
    assert failed(runs.train(run)).code == "out_of_memory"


def test_class_weights_smoothing_and_early_stopping_work_together(tmp_path: Path) -> None:
    training = {**SMALL, "max_steps": 500, "eval_every": 5, "patience": 2, "learning_rate": 1e-9}
    training |= {"class_weights": "balanced", "label_smoothing": 0.1}
    run = runs.make(tmp_path, "rows.csv", runs.table(60), training=training)
    events = runs.train(run)
    done(events)
    assert (last := max(e.step for e in events if isinstance(e, Metrics))) < 500
    [note] = [e for e in events if isinstance(e, Note) and e.kind == "early_stop"]
    assert note.step == last and f"stopped early at step {last}: the last 2 evaluations" in note.message
    assert runs.settled(run)["class_weights"] == pytest.approx([1.0, 1.0], abs=0.1)


def test_a_time_limit_ends_the_training(tmp_path: Path) -> None:
    run = runs.make(tmp_path, "book.txt", runs.book(), training={"width": 16, "max_seconds": 0.5})
    events = runs.train(run)
    done(events)
    last = [e for e in events if isinstance(e, Metrics)][-1]
    assert last.progress > 0.9 and last.total_steps is None


def test_equal_requests_give_equal_weights_and_seeds_matter(tmp_path: Path) -> None:
    digests = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run = runs.make(tmp_path / name, "rows.csv", runs.table(60), training=SMALL, seed=seed)
        done(runs.train(run))
        digests.append(runs.digest(run))
    assert digests[0] == digests[1] != digests[2]
