"""Measures the memory of a few real steps: `python -m tests.training.plan.measured SETTLED ROWS STEPS`.

Prints as JSON by how many bytes the peak memory of this process grows while the network is built and runs the steps.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from app.process_tuning import share_the_machine


def peak() -> int:
    """The peak memory of this process so far, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def measure(values: dict[str, object], rows: int, steps: int) -> int:
    import torch

    from app.training.loop.loop import Hooks, Training
    from app.training.loop.progress import Progress
    from app.training.plan.config import Settled
    from app.training.prepare.dataset import Dataset, Facts, Rows, Stream
    from models.tasks import build
    from tests.training.runs import Heard

    settled = Settled(**values)  # type: ignore[arg-type]
    config = settled.config
    torch.set_num_threads(settled.threads)
    random = np.random.default_rng(0)
    labels = [str(n) for n in range(config.classes)]
    facts = Facts(config.task, config.input, "rows", labels=labels, vocab_size=config.vocab_size)
    part: Rows | Stream
    if config.task == "generation":
        part = Stream(random.integers(3, config.vocab_size, rows * steps + 1).astype(np.int32), rows * steps)
    else:
        flat = random.integers(3, max(4, config.vocab_size), rows * steps).astype(np.int32)
        targets = random.integers(0, config.classes, rows)
        if config.input == "features":
            flat = random.normal(size=(rows * steps, config.features)).astype(np.float32)
        if config.task == "multilabel":
            targets = random.integers(0, 2, (rows, config.classes)).astype(np.uint8)
        part = Rows(flat, np.arange(rows + 1) * steps, targets)
    dataset = Dataset(facts, part, part, None, None)
    hooks = Hooks(Heard(), lambda: False, lambda: None, lambda: False, lambda metrics: None)
    torch.ones(64, 64) @ torch.ones(64, 64)
    before = peak()
    network = build(config)
    if (branch := getattr(network, "ngrams", None)) and hasattr(branch, "bind_tokens"):
        branch.bind_tokens([f" w{n}".encode() for n in range(config.vocab_size)])
        branch.idf.data.fill_(1.0)
    training = Training(settled, dataset, network, Progress(), hooks)
    for _ in range(3):
        training.step()
    training.evaluate()
    return peak() - before


if __name__ == "__main__":
    share_the_machine()
    print(json.dumps(measure(json.loads(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))
