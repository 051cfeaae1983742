"""Compares the default recipe for text with nanoGPT's CPU recipe, in the same run and on the same text.

nanoGPT (https://github.com/karpathy/nanoGPT, "I only have a macbook"): 4 layers, 4 heads, width 128, context 64,
batches of 12, 2,000 steps of AdamW in float32, on characters; the first 90 % of the text is for training. The reference
for an LSTM is the same plain loop around a `torch.nn.LSTM` with about as many parameters. Both references are ordinary
torch.nn code. The figures are the elapsed seconds, without evaluations, that our loop needs to reach the reference's
final bits per character.

Usage: python -m benchmarks.language_model TEXT_FILE [transformer lstm] [--steps 2000] [--longest 1.0]
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from app.training.events import Events
from app.training.loop.batches import derive
from app.training.loop.evaluate import EvaluationSplit, evaluate
from app.training.loop.loop import Hooks, Training
from app.training.loop.progress import Progress
from app.training.plan.config import settle
from app.training.prepare import dataset as datasets
from app.training.prepare.dataset import Dataset
from app.training.prepare.prepare import prepare
from app.wire.trainer import DataFile, TrainSpec
from benchmarks.machine import describe
from models.tasks import build

LAYERS, HEADS, WIDTH, CONTEXT, BATCH = 4, 4, 128, 64, 12
PEAK, LAST, WARMUP, DECAY, CLIP = 1e-3, 1e-4, 100, 0.1, 1.0  # nanoGPT's config/train_shakespeare_char.py
LSTM_WIDTH = 298  # with this width, the LSTM has about as many parameters as the Transformer
HELD_OUT_WINDOWS = 400


class Block(nn.Module):
    """A pre-norm Transformer block, as in nanoGPT."""

    def __init__(self) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH, bias=False) for _ in range(2))
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH, bias=False), nn.Linear(WIDTH, WIDTH, bias=False)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH, bias=False), nn.Linear(4 * WIDTH, WIDTH, bias=False)

    def forward(self, x_BTD: Tensor) -> Tensor:
        rows, steps, _ = x_BTD.shape
        parts = self.qkv(self.norms[0](x_BTD)).view(rows, steps, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(parts[0], parts[1], parts[2], is_causal=True)
        x_BTD = x_BTD + self.out(mixed.transpose(1, 2).reshape(rows, steps, WIDTH))
        output_BTD: Tensor = x_BTD + self.down(functional.gelu(self.up(self.norms[1](x_BTD))))
        return output_BTD


class Reference(nn.Module):
    """The reference network: nanoGPT's Transformer, or an LSTM."""

    def __init__(self, architecture: str, characters: int) -> None:
        super().__init__()
        width = WIDTH if architecture == "transformer" else LSTM_WIDTH
        self.embedding = nn.Embedding(characters, width)
        self.positions = nn.Embedding(CONTEXT, width) if architecture == "transformer" else None
        self.blocks = nn.Sequential(*(Block() for _ in range(LAYERS)), nn.LayerNorm(width, bias=False))
        self.lstm = None if architecture == "transformer" else nn.LSTM(width, width, batch_first=True)
        if self.lstm is not None:
            self.blocks = nn.Sequential()
        for parameter in (p for name, p in self.named_parameters() if p.ndim == 2 and "lstm" not in name):
            nn.init.normal_(parameter, 0.0, 0.02)

    def forward(self, ids_BT: Tensor) -> Tensor:
        x_BTD = self.embedding(ids_BT)
        if self.positions is not None:
            x_BTD = x_BTD + self.positions.weight[: ids_BT.shape[1]]
        hidden_BTD = self.blocks(x_BTD) if self.lstm is None else self.lstm(x_BTD)[0]
        return functional.linear(hidden_BTD, self.embedding.weight)


def reference(architecture: str, text: str, steps: int) -> tuple[float, float, int]:
    """Train the reference. Returns the elapsed seconds, the bits per character on held-out text, and the number of
    parameters.
    """
    torch.manual_seed(1)
    characters = sorted(set(text))
    index = {character: place for place, character in enumerate(characters)}
    ids_T = torch.tensor([index[character] for character in text])
    train_T, held_out_T = ids_T[: int(0.9 * len(ids_T))], ids_T[int(0.9 * len(ids_T)) :]
    network = Reference(architecture, len(characters))
    matrices = [p for p in network.parameters() if p.ndim >= 2]
    groups = [{"params": matrices, "weight_decay": DECAY}]
    groups += [{"params": [p for p in network.parameters() if p.ndim < 2], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=PEAK, betas=(0.9, 0.99))
    began = time.perf_counter()
    for step in range(steps):
        rest = min(1.0, max(0.0, step - WARMUP) / max(1, steps - WARMUP))
        rate = LAST + 0.5 * (1.0 + math.cos(math.pi * rest)) * (PEAK - LAST)
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / WARMUP)
        starts_B = torch.randint(len(train_T) - CONTEXT, (BATCH,))
        ids_BT = torch.stack([train_T[at : at + CONTEXT + 1] for at in starts_B])
        loss = functional.cross_entropy(network(ids_BT[:, :-1]).flatten(0, 1), ids_BT[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), CLIP)
        optimizer.step()
    spent = time.perf_counter() - began
    return spent, _bits(network, held_out_T), sum(parameter.numel() for parameter in network.parameters())


@torch.no_grad()
def _bits(network: Reference, held_out_T: Tensor) -> float:
    places = torch.linspace(0, len(held_out_T) - CONTEXT - 1, HELD_OUT_WINDOWS).long()
    ids_BT = torch.stack([held_out_T[at : at + CONTEXT + 1] for at in places])
    loss = functional.cross_entropy(network(ids_BT[:, :-1]).flatten(0, 1), ids_BT[:, 1:].flatten())
    return float(loss) / math.log(2.0)


def prepared(text: Path, folder: Path) -> Dataset:
    """Prepare the text as the trainer does, with a tenth held out."""
    (folder / "staging").mkdir()
    spec = TrainSpec("lstm", DataFile(str(text.resolve()), "book.txt", ""), seed=1)
    data = prepare(folder, spec, None, folder / "staging", lambda: None)
    return datasets.save(folder / "prepared", folder / "staging", data)


def ours(architecture: str, data: Dataset, longest: float, every: float) -> Iterator[tuple[float, float]]:
    """Yield the seconds and the bits per character of the default run, about every `every` seconds, up to `longest`."""
    threads = torch.get_num_threads()
    settled = settle(TrainSpec(architecture, DataFile("", "", ""), seed=1), data, None, "cpu", threads)
    began, evaluating = time.perf_counter(), 0.0
    torch.manual_seed(derive(settled.seed, "initialisation"))
    hooks = Hooks(Events(None), lambda: False, lambda: None, lambda: False, lambda metrics: None)
    training = Training(settled, data, build(settled.config), Progress(), hooks)
    due = every
    while (spent := time.perf_counter() - began - evaluating) < longest and not training.schedule.finished:
        training.step()
        if spent >= due:
            due += every
            started = time.perf_counter()
            split = EvaluationSplit(data.validation, data.facts, most=settled.eval_rows)
            with training.averaged.applied():
                loss = evaluate(training.network, split)["loss"]
            evaluating += time.perf_counter() - started
            tokens = len(data.validation.ids_T) - data.validation.context  # type: ignore[union-attr]
            yield spent, loss / math.log(2.0) * tokens / data.validation.characters


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.language_model")
    parser.add_argument("text", type=Path)
    parser.add_argument("architectures", nargs="*", default=["transformer", "lstm"])
    parser.add_argument("--steps", type=int, default=2000, help="steps of the reference")
    parser.add_argument("--longest", type=float, default=1.0, help="maximum time, relative to the reference")
    options = parser.parse_args()
    print(describe())
    with tempfile.TemporaryDirectory() as folder:
        data = prepared(options.text, Path(folder))
        for architecture in options.architectures:
            seconds, bits, parameters = reference(architecture, options.text.read_text(encoding="utf-8"), options.steps)
            print(
                f"{architecture}: reference of {parameters:,} parameters: {bits:.3f} bits in {seconds:.1f} s",
                flush=True,
            )
            reached = False
            for spent, figure in ours(architecture, data, options.longest * seconds, seconds / 20):
                mark = "" if reached or figure > bits else f"   <- the same bits in {spent / seconds:.2f} of the time"
                reached = reached or figure <= bits
                print(f"  ours, {spent:6.1f} s: {figure:.3f} bits per character{mark}", flush=True)


if __name__ == "__main__":
    main()
