"""Runs the training loop in tests, without the trainer program."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
import torch

from app.training.loop.batches import derive
from app.training.loop.loop import Hooks, Training
from app.training.loop.progress import Progress
from app.training.plan.config import Settled, settle
from app.training.prepare import dataset as datasets
from app.training.prepare.dataset import Dataset
from app.training.prepare.prepare import prepare
from app.training.run.branch import bind_tokens
from app.wire.trainer import Metrics, TrainSpec
from models.config import ModelConfig
from models.tasks import build
from tests.training import runs


def settled(**changes: Any) -> Settled:
    """The settings of a training run for a small Transformer classifier. All settings that are not listed are 0."""
    model = ModelConfig(architecture="transformer", task="classification", vocab_size=9, classes=2, width=8, heads=2)
    values: dict[str, Any] = {name: 0 for name in Settled.__slots__}
    values |= {"model": model.to_dict(), "learning_rate": 0.1, "schedule": "cosine", "optimizer": "adamw"}
    values |= {"head_rate": 1.0, "lora": None}
    return Settled(**(values | {"warmup_ratio": 0.2, "weight_decay": 0.3} | changes))


def ready(run: Path) -> tuple[TrainSpec, Dataset]:
    """Prepare the data of a run directory. Returns its request and its dataset."""
    spec = msgspec.json.decode((run / "run.json").read_bytes(), type=TrainSpec)
    temporary = run / ".preparing"
    temporary.mkdir()
    return spec, datasets.save(run / "prepared", temporary, prepare(run, spec, None, temporary, lambda: None))


@dataclass
class Loop:
    """A training loop, with the learning rates of its previous steps (`rates`)."""

    settled: Settled
    training: Training
    heard: runs.Heard
    rates: list[float] = field(default_factory=list)

    @property
    def weights(self) -> torch.Tensor:
        return torch.cat([p.detach().flatten() for p in self.training.network.parameters()])

    @property
    def metrics(self) -> list[Metrics]:
        return [event for event in self.heard.events if isinstance(event, Metrics)]


def build_loop(
    run: Path, clock: Callable[[], float] = time.monotonic, save: Callable[[], None] = lambda: None, **changes: Any
) -> Loop:
    """Prepare and settle a training run. `changes` replaces settled values."""
    spec, dataset = ready(run)
    choices = replace(settle(spec, dataset, None, "cpu", 1), **changes)
    torch.manual_seed(derive(choices.seed, "initialisation"))
    network, heard = build(choices.config), runs.Heard()
    bind_tokens(network, dataset)
    hooks = Hooks(heard, lambda: False, save, lambda: True, lambda metrics: None, clock)
    loop = Loop(choices, Training(choices, dataset, network, Progress(), hooks), heard)
    step = loop.training.optimizer.step

    def recorded(rate: float) -> None:
        loop.rates.append(rate)
        step(rate)

    loop.training.optimizer.step = recorded  # type: ignore[method-assign]
    return loop


def run_loop(
    run: Path, clock: Callable[[], float] = time.monotonic, save: Callable[[], None] = lambda: None, **changes: Any
) -> Loop:
    """Call `build_loop` and train until the end."""
    loop = build_loop(run, clock, save, **changes)
    loop.training.run()
    return loop
