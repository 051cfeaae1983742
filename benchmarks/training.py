"""Compares the training loop with a plain PyTorch loop: both train the same network on the same 5,000 rows.

The two loops take turns, a few steps each, so that both run under the same load. Times are processor seconds. The plain
loop shuffles the rows, pads each batch to its longest row, and trains with `torch.optim.AdamW`. In the plain network,
the backward direction reads the padding before the row.

Usage: python -m benchmarks.training [lstm gru rnn transformer]
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from app.training.events import Events
from app.training.loop.loop import Hooks, Training
from app.training.loop.progress import Progress
from app.training.plan.config import settle
from app.training.prepare.dataset import Dataset, Facts, Rows
from app.wire.trainer import DataFile, TrainSpec
from app.wire.training_options import TrainingOptions
from benchmarks.machine import describe
from models.config import ModelConfig
from models.tasks import build

ROWS, TOKENS, VOCABULARY, LABELS = 5_000, 130, 8_192, 6
ROUNDS, STEPS = 9, 12  # the first round is a warm-up and is not counted


def dataset() -> Dataset:
    """Create rows of random token ids, with lengths distributed like those of texts."""
    random = np.random.default_rng(0)
    lengths_N = random.gamma(4.0, TOKENS / 4.0, ROWS).astype(np.int64).clip(4, 1024)
    flat = random.integers(3, VOCABULARY, int(lengths_N.sum())).astype(np.int32)
    rows = Rows(flat, np.concatenate([[0], np.cumsum(lengths_N)]), random.integers(0, LABELS, ROWS))
    few = Rows(flat[: int(rows.offsets_N1[100])], rows.offsets_N1[:101], rows.targets_N[:100])
    labels = [str(label) for label in range(LABELS)]
    counts = np.bincount(rows.targets_N, minlength=LABELS).tolist()
    facts = Facts("classification", "tokens", "rows", labels, counts, vocab_size=VOCABULARY, blank=0, specials=[1, 2])
    return Dataset(facts, rows, few, None, Path())


def product(architecture: str, data: Dataset) -> Training:
    """Create the trainer's loop with the default options, but without the n-gram branch, which the plain network does
    not have.
    """
    spec = TrainSpec(architecture, DataFile("", "", ""), seed=1, training=TrainingOptions(ngrams=False))
    settled = settle(spec, data, None, "cpu", torch.get_num_threads())
    hooks = Hooks(Events(None), lambda: False, lambda: None, lambda: False, lambda metrics: None)
    return Training(settled, data, build(settled.config), Progress(), hooks)


class PlainNetwork(nn.Module):
    """The network as a user would write it with torch.nn."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.embedding = nn.Embedding(config.vocab_size, config.vector_width)
        self.recurrent = config.recurrent
        width = config.width * (2 if config.bidirectional else 1)
        self.body: nn.Module
        if config.recurrent:
            kind = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}[config.architecture]
            sizes = config.vector_width, config.width, config.layers
            self.body = kind(*sizes, batch_first=True, bidirectional=config.bidirectional)
        else:
            layer = nn.TransformerEncoderLayer(width, config.heads, 4 * width, config.dropout, "gelu", batch_first=True)
            self.body = nn.TransformerEncoder(layer, config.layers)
        self.dropout, self.head = nn.Dropout(config.dropout), nn.Linear(width, config.classes)

    def forward(self, ids_BT: Tensor, lengths_B: Tensor) -> Tensor:
        x_BTD = self.dropout(self.embedding(ids_BT))
        padding_BT = torch.arange(ids_BT.shape[1]) >= lengths_B[:, None]
        x_BTD = self.body(x_BTD)[0] if self.recurrent else self.body(x_BTD, src_key_padding_mask=padding_BT)
        pooled_BD = x_BTD.masked_fill(padding_BT[:, :, None], float("-inf")).amax(1)
        logits_BC: Tensor = self.head(self.dropout(pooled_BD))
        return logits_BC


def plain_steps(config: ModelConfig, rows: Rows, size: int) -> Iterator[None]:
    """Perform one step of the plain loop each time the iterator is advanced."""
    network = PlainNetwork(config)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    while True:
        for chosen in torch.split(torch.randperm(len(rows)), size):
            pieces = [torch.from_numpy(rows.row(int(i)).astype(np.int64)) for i in chosen]
            ids_BT = nn.utils.rnn.pad_sequence(pieces, batch_first=True)
            logits_BC = network(ids_BT, torch.tensor([len(piece) for piece in pieces]))
            loss = nn.functional.cross_entropy(logits_BC, torch.from_numpy(rows.targets_N[chosen.numpy()]))
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            yield


def seconds(step: Callable[[], object]) -> float:
    """Measure the processor time of `STEPS` steps, in seconds."""
    began = time.process_time()
    for _ in range(STEPS):
        step()
    return time.process_time() - began


def compare(architecture: str, data: Dataset) -> dict[str, float]:
    """Return both loops' milliseconds per step, the median of their ratios, and the share of padding in our batches."""
    torch.manual_seed(1)
    training = product(architecture, data)
    assert isinstance(data.train, Rows)
    plain = plain_steps(training.settled.config, data.train, training.settled.batch_size)
    pairs = [(seconds(training.step), seconds(lambda: next(plain))) for _ in range(ROUNDS)][1:]
    pieces = [piece for step in range(40) for piece in training.batches.pieces(step)]
    return {
        "ours": 1000 * statistics.median(ours for ours, _ in pairs) / STEPS,
        "plain": 1000 * statistics.median(theirs for _, theirs in pairs) / STEPS,
        "ratio": statistics.median(ours / theirs for ours, theirs in pairs),
        "padding": 1.0 - sum(p.tokens for p in pieces) / sum(p.inputs.numel() for p in pieces),
    }


def main(architectures: list[str]) -> None:
    print(describe())
    data = dataset()
    print(f"{'network':12} {'ours, ms':>9} {'plain, ms':>10} {'ratio':>6} {'padding':>8}")
    for architecture in architectures or ["lstm", "gru", "rnn", "transformer"]:
        row = compare(architecture, data)
        times = f"{row['ours']:9.1f} {row['plain']:10.1f} {row['ratio']:6.2f}"
        print(f"{architecture:12} {times} {row['padding']:8.1%}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
