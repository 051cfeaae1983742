"""Small real networks, checkpoints on disk, and a recorder of replies for the engine's tests."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from app.checkpoint import directory as checkpoint
from app.engine.decoder import Decoder
from app.engine.host import EngineHost
from app.engine.reply import Counters
from app.engine.runner import Runner
from app.engine.scheduler import Scheduler
from app.tokenization.training import train
from app.wire import engine as wire
from models import tasks
from models.config import ModelConfig
from models.interface import Context

torch.set_num_threads(1)

CPU = torch.device("cpu")
VOCABULARY = 40
CONTEXT = 48
PEER = b"peer"


def config(architecture: str = "lstm", task: str = "generation", **options: Any) -> ModelConfig:
    sizes = {"layers": 2, "width": 32, "heads": 4, "context_length": CONTEXT}
    sizes |= {"vocab_size": VOCABULARY} if options.get("input", "tokens") == "tokens" else {"features": 3}
    sizes |= {} if task == "generation" else {"classes": 1 if task == "regression" else 3}
    return ModelConfig(architecture=architecture, task=task, **{**sizes, **options})


def network(shape: ModelConfig, seed: int = 0) -> Any:
    """A network with larger weights than usual, so that its output clearly depends on the input."""
    built = tasks.build(shape, torch.Generator().manual_seed(seed)).eval().requires_grad_(False)
    for name, parameter in built.named_parameters():
        if parameter.dim() > 1:
            parameter.mul_(4.0 if "embedding" in name else 2.0)
    return built


def write_checkpoint(directory: Path, shape: ModelConfig, **extra: Any) -> tuple[Any, wire.Load]:
    """Write a checkpoint. Returns its network and the message for loading it."""
    directory.mkdir(parents=True)
    if shape.input == "tokens":
        tokenizer = train(["abc def"], "byte", 259)
        tokenizer.save(directory / "tokenizer.json")
    built = network(shape)
    save_file(built.state_dict(), directory / "model.safetensors")
    raw = {**shape.to_dict(), "format_version": 1, **extra}
    checkpoint.write_json(directory / "config.json", raw)
    if shape.task in ("classification", "multilabel"):
        (directory / "labels.json").write_text(json.dumps([f"l{i}" for i in range(shape.classes)]))
    manifest = checkpoint.manifest(directory)
    files = {name: entry.sha256 for name, entry in manifest.items()}
    return built, wire.Load(checkpoint.digest(manifest), str(directory), files, f"{directory.name}:1")


class Replies:
    """Records all replies by request. `final` asserts that the last message of a request is its only final message."""

    def __init__(self) -> None:
        self.all: dict[str, list[Any]] = defaultdict(list)

    def __call__(self, peer: bytes, message: wire.FromEngine) -> None:
        self.all[message.id].append(message)  # type: ignore[union-attr]

    def tokens(self, id: str) -> list[int]:
        return [token for m in self.all[id] if isinstance(m, wire.Tokens) for token in m.ids]

    def reports(self, id: str) -> list[wire.TokenLogprob]:
        return [report for m in self.all[id] if isinstance(m, wire.Tokens) for report in m.logprobs]

    def final(self, id: str) -> Any:
        finals = [m for m in self.all[id] if not isinstance(m, wire.Tokens)]
        assert len(finals) == 1, f"{id} has {len(finals)} final messages"
        assert self.all[id][-1] is finals[0], f"{id} has messages after the final one"
        return finals[0]


def decoder(
    built: Any, *, slots: int = 4, prefill: int = 16, alone: bool = False, eos_id: int | None = None
) -> tuple[Decoder, Replies]:
    replies = Replies()
    shape = built.config
    runner = Runner(built, slots, CPU)
    scheduler = Scheduler(slots, prefill, alone)
    return Decoder(runner, scheduler, shape.vocab_size, shape.context_length, eos_id, replies, Counters()), replies


def generate(
    id: str, prompt: list[int], choice: int = 0, deadline: float | None = None, **options: Any
) -> wire.Generate:
    params = wire.SamplingParams(**{"temperature": 0.0, **options})
    return wire.Generate(id, "d", "local", prompt, params, choice, deadline)


def run(engine: Decoder) -> None:
    """Run steps of the decoder until no request is open."""
    with torch.inference_mode():
        for _ in range(10_000):
            if not engine.busy:
                return
            engine.step()
    raise AssertionError("requests are still open after 10,000 steps")


def run_ready(host: EngineHost) -> None:
    """Run steps of the host as long as there is work that does not wait for a thread."""
    while host.ready:
        host.step()


def plain_greedy(built: Any, prompt: list[int], count: int) -> tuple[list[int], float]:
    """Decode greedily, reading the whole text again for each token.

    Returns the tokens, and the smallest difference between the best and the second-best logit.
    """
    ids, lead = list(prompt), float("inf")
    with torch.inference_mode():
        for _ in range(count):
            logits_V = built.logits(built(torch.tensor([ids]), Context())[0, -1])
            best = logits_V.topk(2).values
            lead = min(lead, float(best[0] - best[1]))
            ids.append(int(logits_V.argmax()))
    return ids[len(prompt) :], lead
