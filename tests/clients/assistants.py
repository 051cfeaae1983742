"""Trained assistants on a real service: an LSTM and a Transformer that have memorized a few answers."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openai

from tests.api.real import Real, running
from tests.checkpoints import publish
from tests.training.runs import events, make, trainer

ANSWERS = {"drink?": "Grüner Tee 緑茶.", "city?": "Köln.", "name?": "Ada."}
NAMES = ("lstm", "transformer")
TRAINING: dict[str, dict[str, Any]] = {
    "lstm": {"tokenizer": "bpe", "vocab_size": 300, "max_steps": 350, "width": 64, "layers": 1},
    "transformer": {"tokenizer": "byte", "max_steps": 120, "width": 32, "layers": 2, "heads": 2},
}
SHARED = {
    "batch_size": 8, "context_length": 128, "eval_every": 1000, "learning_rate": 0.01, "dropout": 0.0,
    "weight_decay": 0.0, "label_smoothing": 0.0,
}  # fmt: skip


def conversations(count: int = 200) -> str:
    """JSON lines of conversations with two questions and answers each, some of them with a system message."""
    draw = random.Random(0)
    lines = []
    for number in range(count):
        messages = [{"role": "system", "content": f"{number}"}] if number % 3 == 0 else []
        for question in draw.sample(list(ANSWERS), 2):
            messages.append({"role": "user", "content": question})
            messages.append({"role": "assistant", "content": ANSWERS[question]})
        lines.append(json.dumps({"messages": messages}, ensure_ascii=False))
    return "\n".join(lines)


def train(folder: Path, name: str) -> Path:
    """Train one assistant in a separate process, and return the checkpoint."""
    run = make(folder, "chats.jsonl", conversations(), model=name, training={**SHARED, **TRAINING[name]})
    with trainer(run) as process:
        heard = list(events(process))
    assert (run / "checkpoint" / "model.safetensors").exists(), heard[-1:]
    return run / "checkpoint"


@contextmanager
def serving(folder: Path, database: Path) -> Iterator[Real]:
    """A service with both assistants, named after their architectures, and an untrained language model `plain`."""
    runs = [folder / name for name in NAMES]
    for run in runs:
        run.mkdir(parents=True)
    with ThreadPoolExecutor(len(NAMES)) as pool:
        checkpoints = list(pool.map(train, runs, NAMES))
    (folder / "service").mkdir()
    with running(folder / "service", database) as real:
        for name, checkpoint in zip(NAMES, checkpoints, strict=True):
            publish(real.shelf.registry, checkpoint, name, "local")
        real.serve("plain")
        yield real


def client_of(real: Real, **options: Any) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{real.api.url}/v1", api_key="none", max_retries=0, **options)
