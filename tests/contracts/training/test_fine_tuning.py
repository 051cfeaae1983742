"""Fine-tuning: before the first step, the new version gives the same answers as the base version."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
import torch
from safetensors.torch import load_file, save_file
from tokenizers import models, pre_tokenizers

from app.checkpoint import directory as checkpoint
from app.tokenization.tokenizer import Tokenizer
from app.training.loop.batches import Batch
from app.wire.trainer import Done, Note, TrainEvent, TrainFailed
from models.config import ModelConfig
from models.tasks import build
from tests.training import runs
from tests.training.served import ServedCheckpoint, near

STILL = {"max_steps": 2, "batch_size": 8, "learning_rate": 1e-12}  # too little to change any answer
SMALL = {"width": 16, "layers": 1, "max_steps": 4, "batch_size": 16}
TEXTS = ["seven grey geese walk home lovely", "a dark dog", "summer rain over the fox"]


def steps(count: int = 40, scale: float = 1.0, **more: Any) -> str:
    random = np.random.default_rng(0)
    rows = []
    for n in range(count):
        steps_TF = scale * (random.normal(size=(3 + n % 4, 2)) + 3.0 * (n % 2))
        rows.append({"features": steps_TF.round(3).tolist(), "label": "ab"[n % 2], "value": scale * (n % 7)})
    return "\n".join(json.dumps(row | more) for row in rows)


SEQUENCES: list[Any] = [[[0.5, 1.0], [2.0, -1.0], [40.0, 3.0]], [[1.0, 1.0]]]


def tuned(base: Path, run: Path, name: str, content: str, **spec: Any) -> tuple[Path, list[TrainEvent]]:
    """Fine-tune `base`. Returns the new checkpoint, and the events of the training run."""
    runs.make(run, name, content, "base", **spec)
    shutil.copytree(base, run / "base")
    events = runs.train(run)
    assert isinstance(events[-1], Done), events[-1]
    return run / "checkpoint", events


def trained(run: Path, name: str, content: str, model: str = "gru", **spec: Any) -> Path:
    spec.setdefault("training", SMALL)
    assert isinstance(runs.train(runs.make(run, name, content, model, **spec))[-1], Done)
    return run / "checkpoint"


def imported(directory: Path, words: list[str] | None = None, labels: tuple[str, ...] = (), **config: Any) -> Path:
    """A checkpoint like those of imports: without scales for numbers, and with another program's vocabulary."""
    directory.mkdir(parents=True)
    model = ModelConfig(width=16, layers=1, **config)
    save_file(build(model, torch.Generator().manual_seed(3)).state_dict(), directory / "model.safetensors")
    checkpoint.write_json(directory / "config.json", {"format_version": 1, **model.to_dict()})
    if labels:
        checkpoint.write_json(directory / "labels.json", list(labels))
    if words:
        native = tokenizers.Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
        native.pre_tokenizer = pre_tokenizers.WhitespaceSplit()  # type: ignore[assignment]
        Tokenizer(native.to_str()).save(directory)
    checkpoint.validate(directory)
    return directory


def config_of(directory: Path) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((directory / "config.json").read_text())
    return config


def ids_of(directory: Path) -> list[Any]:
    return Tokenizer.load(directory).encode_batch(TEXTS)


def test_all_parameters_are_trained_or_the_head_alone(tmp_path: Path) -> None:
    first = runs.make(tmp_path / "first", "rows.csv", runs.table(), training=SMALL)
    assert isinstance(runs.train(first)[-1], Done)
    base = load_file(first / "checkpoint" / "model.safetensors")
    for name, content, head_only, fresh in (
        ("all", runs.table(100), False, False),
        ("head", runs.table(100), True, False),
        ("other", runs.table(100).replace("good", "fine"), True, True),
    ):
        run = runs.make(tmp_path / name, "rows.csv", content, "base", training={"max_steps": 3, "head_only": head_only})
        shutil.copytree(first / "checkpoint", run / "base")
        events = runs.train(run)
        assert isinstance(events[-1], Done)
        tuned = load_file(run / "checkpoint" / "model.safetensors")
        same = torch.equal(tuned["body.rnn.weight_hh_l0"], base["body.rnn.weight_hh_l0"])
        assert same is head_only
        assert not torch.equal(tuned["head.weight"], base["head.weight"])
        message = next(e.message for e in events if isinstance(e, Note) and e.kind == "base")
        assert ("head.weight" in message) is fresh
        assert checkpoint.read(run / "checkpoint").labels == (["bad", "fine"] if fresh else ["bad", "good"])
        assert (run / "checkpoint" / "tokenizer.json").read_bytes() == (
            first / "checkpoint/tokenizer.json"
        ).read_bytes()


def test_inputs_keep_the_scale_of_the_base_version(tmp_path: Path) -> None:
    base = trained(tmp_path / "base", "a.jsonl", steps(), task="classification")
    again, _ = tuned(base, tmp_path / "run", "b.jsonl", steps(scale=50.0), task="classification", training=STILL)
    assert config_of(again)["normalization"] == config_of(base)["normalization"]
    assert near(ServedCheckpoint(again).scores(SEQUENCES), ServedCheckpoint(base).scores(SEQUENCES))


def test_values_keep_the_scale_of_the_base_version(tmp_path: Path) -> None:
    base = trained(tmp_path / "base", "a.jsonl", steps(), task="regression")
    again, _ = tuned(base, tmp_path / "run", "b.jsonl", steps(scale=90.0), task="regression", training=STILL)
    assert config_of(again)["target"] == config_of(base)["target"]
    assert near(ServedCheckpoint(again).scores(SEQUENCES), ServedCheckpoint(base).scores(SEQUENCES))


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_imported_weights_get_raw_numbers_and_give_raw_values(task: str, tmp_path: Path) -> None:
    shape = {"architecture": "lstm", "input": "features", "features": 2, "pooling": "last", "task": task}
    labels = ("a", "b") if task == "classification" else ()
    base = imported(tmp_path / "base", labels=labels, classes=len(labels) or 1, **shape)
    again, _ = tuned(base, tmp_path / "run", "b.jsonl", steps(scale=500.0), task=task, training=STILL)
    assert not {"normalization", "target"} & set(config_of(again))
    assert near(ServedCheckpoint(again).scores(SEQUENCES), ServedCheckpoint(base).scores(SEQUENCES))


PARTS: dict[str, Any] = {
    "pooling": "attention", "pooling_width": 6, "pooling_input_activation": "tanh", "output_norm": "pooled",
    "output_activation": "tanh", "head_widths": (12, 8), "head_activation": "gelu",
}  # fmt: skip


@pytest.mark.parametrize("head_only", [False, True])
def test_a_head_of_several_layers_is_kept_and_trained(head_only: bool, tmp_path: Path) -> None:
    words = ["<unk>", *sorted({word for text in TEXTS for word in text.split()})]
    shape = {"architecture": "gru", "vocab_size": len(words), "classes": 2, "task": "classification", **PARTS}
    base = imported(tmp_path / "base", words, ("bad", "good"), **shape)
    still, _ = tuned(base, tmp_path / "still", "rows.csv", runs.table(60), training=STILL)
    assert config_of(still)["head_widths"] == [12, 8]
    assert near(ServedCheckpoint(still).scores(ids_of(still)), ServedCheckpoint(base).scores(ids_of(base)))
    training = {"max_steps": 3, "learning_rate": 0.05, "head_only": head_only}
    again, _ = tuned(base, tmp_path / "run", "rows.csv", runs.table(60), training=training)
    old, new = (load_file(at / "model.safetensors") for at in (base, again))
    moved = {name.partition(".")[0] for name in new if not torch.equal(old[name], new[name])}
    assert moved == {"pooling", "head_layers", "head"} | (set() if head_only else {"input", "body", "norm"})


def test_a_generator_from_a_head_of_several_layers_has_a_head_of_its_own(tmp_path: Path) -> None:
    words = ["<unk>", *sorted({word for text in TEXTS for word in text.split()})]
    shape = {"architecture": "gru", "vocab_size": len(words), "classes": 2, "task": "classification", **PARTS}
    base = imported(tmp_path / "base", words, ("bad", "good"), **shape)
    again, _ = tuned(base, tmp_path / "run", "book.txt", runs.book(50), training=STILL)
    assert config_of(again)["task"] == "generation" and not {"head_widths", "output_norm"} & set(config_of(again))


def test_raw_values_of_any_size_are_learned(tmp_path: Path) -> None:
    shape = {"architecture": "gru", "input": "features", "features": 2, "task": "regression", "classes": 1}
    base = imported(tmp_path / "base", **shape)
    training = {"max_steps": 60, "learning_rate": 0.5, "schedule": "constant"}
    again, _ = tuned(base, tmp_path / "run", "b.jsonl", steps(scale=500.0), task="regression", training=training)
    before, after = (np.ravel(ServedCheckpoint(at).scores(SEQUENCES)).mean() for at in (base, again))
    assert abs(before) < 10 < after


def test_a_generator_starts_from_the_weights_of_its_base(tmp_path: Path) -> None:
    base = trained(tmp_path / "base", "book.txt", runs.book(300), training={**SMALL, "context_length": 32})
    again, _ = tuned(base, tmp_path / "run", "other.txt", runs.book(100)[::-1], training=STILL)
    ids = ids_of(base)[0]
    assert ids_of(again)[0] == ids
    assert near(ServedCheckpoint(again).logprobs(ids), ServedCheckpoint(base).logprobs(ids))


def test_another_task_inherits_the_body_and_may_choose_its_pooling(tmp_path: Path) -> None:
    base = trained(tmp_path / "base", "book.txt", runs.book(300), training={**SMALL, "context_length": 32})
    training = STILL | {"pooling": "attention", "learning_rate": 0.02, "max_steps": 30, "head_only": True}
    again, events = tuned(base, tmp_path / "run", "rows.csv", runs.table(200), training=training)
    assert (config_of(again)["task"], config_of(again)["pooling"]) == ("classification", "attention")
    old, new = (load_file(at / "model.safetensors") for at in (base, again))
    assert all(torch.equal(old[name], new[name]) for name in old if name.startswith(("body.", "input.")))
    message = next(e.message for e in events if isinstance(e, Note) and e.kind == "base")
    assert message.endswith("new: head.bias, head.weight, pooling.query.weight")
    spread = np.ptp(ServedCheckpoint(again).scores(ids_of(again)), axis=0)
    assert (spread > 0).all()


def test_a_bidirectional_network_cannot_generate(tmp_path: Path) -> None:
    base = trained(tmp_path / "base", "rows.csv", runs.table(60))
    run = runs.make(tmp_path / "run", "book.txt", runs.book(50), "base", training=STILL)
    shutil.copytree(base, run / "base")
    last = runs.train(run)[-1]
    assert isinstance(last, TrainFailed) and (last.code, last.param) == ("invalid_base_model", "model")
    assert "from left to right" in last.message


@pytest.mark.parametrize("model", ["lstm", "transformer"])
def test_the_head_of_a_generator_alone(model: str, tmp_path: Path) -> None:
    """Tied embeddings are also the input layer, so the head gets a matrix of its own, which starts as a copy of the
    embeddings."""
    small = {**SMALL, "context_length": 32}
    base = trained(tmp_path / "base", "book.txt", runs.book(300), model, training=small)
    assert config_of(base)["tie_embeddings"]
    training = {"max_steps": 3, "learning_rate": 0.05, "head_only": True}
    again, _ = tuned(base, tmp_path / "run", "book.txt", runs.book(200), training=training)
    assert not config_of(again)["tie_embeddings"]
    old, new = (load_file(at / "model.safetensors") for at in (base, again))
    moved = {name for name in new if name not in old or not torch.equal(old[name], new[name])}
    assert moved == {"head.weight", "head.bias"}
    drift = (new["head.weight"] - old["input.embedding.weight"]).abs().max()
    assert 0.0 < drift < 0.5
    still, _ = tuned(base, tmp_path / "still", "book.txt", runs.book(200), training=STILL | {"head_only": True})
    ids = ids_of(base)[0]
    assert near(ServedCheckpoint(still).logprobs(ids), ServedCheckpoint(base).logprobs(ids))


def test_a_shorter_context_cuts_learned_positions_and_recurrent_networks_can_have_a_longer_one(tmp_path: Path) -> None:
    words = ["<unk>", *sorted({word for text in TEXTS for word in text.split()})]
    shape = {"vocab_size": len(words), "classes": 2, "task": "classification", "context_length": 40}
    for number, (more, asked) in enumerate(
        (({"architecture": "transformer", "positions": "learned"}, 8), ({"architecture": "rnn"}, 500))
    ):
        base = imported(tmp_path / f"base{number}", words, ("bad", "good"), **shape, **more)
        training = STILL | {"context_length": asked}
        again, _ = tuned(base, tmp_path / f"run{number}", "rows.csv", runs.table(60), training=training)
        assert config_of(again)["context_length"] == asked
        assert near(ServedCheckpoint(again).scores(ids_of(again)), ServedCheckpoint(base).scores(ids_of(base)))


@pytest.mark.parametrize(
    ("words", "blank", "specials"),
    [
        (["the", "<unk>", "<sep>", "<pad>"], 1, {2, 3}),
        (["the", "<unk>", "</s>"], 1, {2}),
    ],
)
def test_dropped_tokens_become_unknown_and_never_a_word(
    words: list[str], blank: int, specials: set[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vocabulary = [*words, *sorted(set(runs.WORDS) - set(words))]
    shape = {"architecture": "gru", "vocab_size": len(vocabulary), "classes": 2, "task": "classification"}
    base = imported(tmp_path / "base", vocabulary, ("bad", "good"), **shape)
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    from app.training.loop.loop import Training

    dropped = Training._with_dropped_tokens

    def spy(self: Training, batch: Batch) -> Batch:
        inputs = batch.inputs.clone()
        inputs[:, 1] = min(specials)
        result = dropped(self, replace(batch, inputs=inputs))
        seen.append((inputs, result.inputs))
        return result

    monkeypatch.setattr(Training, "_with_dropped_tokens", spy)
    tuned(base, tmp_path / "run", "rows.csv", runs.table(200), training={"max_steps": 20})
    original, kept = (torch.cat([pair[k].flatten() for pair in seen]) for k in (0, 1))
    changed = original != kept
    assert 0.02 < changed.float().mean() < 0.3
    assert set(kept[changed].tolist()) == {blank}
    assert not set(original[changed].tolist()) & specials
