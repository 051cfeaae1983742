"""Versions that were imported from Hugging Face directories are fine-tuned like those that were trained here."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from app.checkpoint import directory as checkpoint
from app.tokenization.tokenizer import Tokenizer
from app.training import recipes
from app.wire.trainer import Done, Stopped
from models.config import ModelConfig
from models.parameters import shapes
from tests.importing.huggingface.directories import bring, copied
from tests.training import runs

ROWS = "text,label\n" + "\n".join(
    f"{word} {n},{label}" for n in range(30) for word, label in (("sun", "a"), ("rain", "b"))
)
STORY = "\n".join(json.dumps({"text": f"the sun {n} and the rain"}) for n in range(30))


def tuned(name: str, folder: Path, file: str, content: str, **options: Any) -> tuple[Path, Path]:
    """The directories of an imported version, and of its fine-tuned version."""
    bring(copied(name, folder), folder / "base")
    training = {"max_steps": 3, "batch_size": 8, **options}
    run = runs.make(folder / "run", file, content, "base", training=training)
    shutil.copytree(folder / "base", run / "base")
    events = runs.train(run)
    assert isinstance(events[-1], Done), events[-1]
    return folder / "base", run / "checkpoint"


@pytest.mark.parametrize("name", ["minilm", "bert", "modernbert"])
def test_an_encoder_learns_labels(name: str, tmp_path: Path) -> None:
    base, new = tuned(name, tmp_path, "rows.csv", ROWS)
    before, after = checkpoint.validate(base), checkpoint.validate(new)
    assert (after.config.task, after.labels) == ("classification", ["a", "b"])
    same = ("pooling", "input_norm", "token_types", "separator_id", "head_widths", "context_length")
    same += ("head_norm", "norm_bias", "first_norm", "attention_window", "global_every", "local_rotary_base")
    assert all(getattr(after.config, field) == getattr(before.config, field) for field in same)
    assert Tokenizer.load(new).encode("sun") == Tokenizer.load(base).encode("sun")
    old, weights = load_file(base / "model.safetensors"), load_file(new / "model.safetensors")
    changed = "input.types.weight" if "input.types.weight" in old else "body.blocks.1.attention.qkv.weight"
    distance = (weights[changed] - old[changed]).abs().max()
    assert 0 < distance < 0.1


@pytest.mark.parametrize(
    ("name", "parts"), [("minilm", {"head"}), ("modernbert", {"head_layers", "head_norm", "head"})]
)
def test_only_the_head_of_an_encoder_learns(name: str, parts: set[str], tmp_path: Path) -> None:
    base, new = tuned(name, tmp_path, "rows.csv", ROWS, head_only=True)
    old, weights = load_file(base / "model.safetensors"), load_file(new / "model.safetensors")
    changed = {key for key in weights if key not in old or not torch.equal(weights[key], old[key])}
    assert changed == {key for key in weights if key.partition(".")[0] in parts}


@pytest.mark.parametrize("name", ["modernbert", "modernbert-sentences"])
def test_an_encoder_with_local_layers_becomes_a_language_model_without_them(name: str, tmp_path: Path) -> None:
    base, new = tuned(name, tmp_path, "story.jsonl", STORY)
    before, after = checkpoint.validate(base).config, checkpoint.validate(new).config
    assert before.attention_window and before.global_every
    assert (after.attention_window, after.global_every, after.local_rotary_base) == (0, 0, 10_000.0)
    assert (after.task, after.rotary_base, after.head_norm) == ("generation", before.rotary_base, False)


def test_a_decoder_continues_texts_and_keeps_its_end_token(tmp_path: Path) -> None:
    base, new = tuned("qwen3", tmp_path, "story.jsonl", STORY)
    after = checkpoint.validate(new)
    assert after.config.qk_norm and after.config.head_width == 6
    assert after.raw_config["eos_token"] == checkpoint.validate(base).raw_config["eos_token"] == "</s>"
    assert Tokenizer.load(new).eos_id == 2


def large_base(folder: Path) -> Path:
    """An imported encoder with random weights, so large that a separate recipe applies to it."""
    bring(copied("minilm", folder), folder / "base")
    raw = json.loads((folder / "base" / "config.json").read_text())
    sizes = {"width": 256, "inner": 1024, "layers": 3}
    checkpoint.write_json(folder / "base" / "config.json", raw | sizes)
    config = ModelConfig.from_dict(raw | sizes)
    generator = torch.Generator().manual_seed(3)
    tensors = {name: 0.05 * torch.randn(shape, generator=generator) for name, shape in shapes(config).items()}
    save_file(tensors, folder / "base" / "model.safetensors")
    return folder / "base"


def after(calls: int) -> Callable[[], bool]:
    """A function that returns False for the first `calls` calls, and True afterwards."""
    numbers = itertools.count()
    return lambda: next(numbers) >= calls


def test_a_large_encoder_learns_with_frozen_tokens_and_resumes_exactly(tmp_path: Path) -> None:
    base = large_base(tmp_path)
    weights = []
    for name, stops in (("whole", ()), ("stopped", (3, 5))):
        run = runs.make(tmp_path / name, "rows.csv", ROWS, "base", training={"max_steps": 8, "batch_size": 4})
        shutil.copytree(base, run / "base")
        for stop in stops:
            assert isinstance(runs.train(run, after(stop))[-1], Stopped)
        assert isinstance(runs.train(run)[-1], Done)
        weights.append((run / "checkpoint" / "model.safetensors").read_bytes())
    assert weights[0] == weights[1]
    settled = json.loads((tmp_path / "whole" / "settled.json").read_text())
    assert settled["freeze_embedding"] and settled["learning_rate"] == pytest.approx(1.5e-4)
    before, new = load_file(base / "model.safetensors"), load_file(tmp_path / "whole/checkpoint/model.safetensors")
    assert torch.equal(new["input.embedding.weight"], before["input.embedding.weight"])
    assert not torch.equal(new["body.positions.weight"], before["body.positions.weight"])


def test_an_encoder_with_local_layers_resumes_exactly(tmp_path: Path) -> None:
    bring(copied("modernbert-sentences", tmp_path), tmp_path / "base")
    weights = []
    for name, stops in (("whole", ()), ("stopped", (2,))):
        run = runs.make(tmp_path / name, "rows.csv", ROWS, "base", training={"max_steps": 4, "batch_size": 4})
        shutil.copytree(tmp_path / "base", run / "base")
        for stop in stops:
            assert isinstance(runs.train(run, after(stop))[-1], Stopped)
        assert isinstance(runs.train(run)[-1], Done)
        weights.append((run / "checkpoint" / "model.safetensors").read_bytes())
    assert weights[0] == weights[1]


def test_a_large_transformer_for_numbers_has_no_tokens_to_freeze(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recipes, "PRETRAINED", 1)
    rows = [{"features": [[k * (1 + n % 2), n % 5] for k in range(4)], "label": "ab"[n % 2]} for n in range(24)]
    content = "\n".join(map(json.dumps, rows))
    options = {"max_steps": 2, "batch_size": 8}
    first = runs.make(tmp_path / "first", "rows.jsonl", content, "transformer", training={"width": 8, **options})
    assert isinstance(runs.train(first)[-1], Done)
    run = runs.make(tmp_path / "second", "rows.jsonl", content, "base", training=options)
    shutil.copytree(first / "checkpoint", run / "base")
    assert isinstance(runs.train(run)[-1], Done)
    assert not json.loads((run / "settled.json").read_text())["freeze_embedding"]
