"""Measures the offline limit: the fastest in-process loop over the same texts, including tokenisation, without a
server.

The loop uses the engine's lanes and kernels, so the difference from the service's rate is the cost of serving.

Usage: python -m benchmarks.offline classify|generate CHECKPOINT_DIRECTORY TEXTS_JSON  (prints one JSON object)
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

from app.process_tuning import share_the_machine

share_the_machine()  # before torch is imported, as in the engine

import torch  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

from app.checkpoint import directory as checkpoint  # noqa: E402
from app.engine.lanes import Lanes  # noqa: E402
from app.tokenization.tokenizer import Tokenizer  # noqa: E402
from models.interface import Context  # noqa: E402
from models.kernels.choice import bind, choose  # noqa: E402
from models.tasks import build  # noqa: E402


def _network(directory: Path, dtype: torch.dtype) -> Any:
    network: Any = build(checkpoint.read(directory).config)
    network.load_state_dict(load_file(directory / "model.safetensors"))
    return network.to(dtype).eval()


def classify_rate(network: Any, tokenizer: Tokenizer, texts: list[str], batch: int, lanes: Lanes | None) -> float:
    """Measure texts per second in batches of `batch`, sorted by length.

    Without `lanes`, one batch at a time uses all cores; with `lanes`, each core computes a separate batch.
    """
    started = time.perf_counter()
    ids = sorted(tokenizer.encode_batch(texts), key=len)

    def run(rows: list[list[int]]) -> None:
        longest = len(rows[-1])
        ids_BT = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
        network(ids_BT, torch.tensor([len(row) for row in rows])).float().softmax(-1).tolist()

    with torch.inference_mode():
        for first in range(0, len(ids), batch):
            rows = ids[first : first + batch]
            if lanes is None:
                run(rows)
                continue
            if not lanes.free:
                lanes.collect_one()
            lanes.start(partial(run, rows), lambda _: None)
        if lanes:
            lanes.collect(wait=True)
            lanes.widen()
    return len(texts) / (time.perf_counter() - started)


def decode_rate(network: Any, prompt: list[int], rows: int, new_tokens: int) -> float:
    """Measure tokens per second of greedy decoding for `rows` equal prompts, including prefill."""
    started = time.perf_counter()
    with torch.inference_mode():
        state = network.new_state(rows)
        step_BT = torch.tensor([prompt] * rows)
        for _ in range(new_tokens):
            lengths_B = torch.full((rows,), step_BT.shape[1])
            hidden_BTD = network(step_BT, Context(lengths_B=lengths_B, state=state))
            step_BT = network.logits(hidden_BTD[:, -1]).argmax(-1, keepdim=True)
            step_BT.tolist()
    return rows * new_tokens / (time.perf_counter() - started)


def main(kind: str, directory: Path, texts: list[str]) -> dict[str, float]:
    """Return the best rate for each dtype or, for generation, for each dtype and number of rows."""
    tokenizer = Tokenizer.load(directory)
    figures: dict[str, float] = {}
    for dtype in (torch.float32, torch.bfloat16):
        network, name = _network(directory, dtype), str(dtype).removeprefix("torch.")
        if kind == "classify":
            ways = itertools.product((16, 32, 64), (None, Lanes(torch.get_num_threads())))
            figures[name] = max(classify_rate(network, tokenizer, texts, *way) for way in ways)
        else:
            if kernels := choose(torch.device("cpu"), dtype):
                bind(network, kernels)
            prompt = tokenizer.encode(" ".join(texts))[:32]
            for rows in (1, 8):
                figures[f"{name}-{rows}"] = max(decode_rate(network, prompt, rows, 64) for _ in range(2))
    return figures


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], Path(sys.argv[2]), json.loads(Path(sys.argv[3]).read_text()))))
