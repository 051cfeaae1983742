"""`make bench`: compares the service with a plain FastAPI + torch server on this machine, with equal weights and texts.

Measures interleaved rounds and takes medians. Writes `benchmarks/results/bench-<dtype>.json` and the tables in
`docs/performance.md`. Usage: python -m benchmarks.bench [--rounds 3] [--seconds 8] [--dtype float32]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from benchmarks import checkpoints
from benchmarks.load import Figures, load
from benchmarks.machine import describe
from benchmarks.report import write_performance
from benchmarks.service import Service, free_port, running, wait_until

ROOT = Path(__file__).parent.parent
CORPUS = ROOT / "app" / "demo" / "data"
RESULTS = Path(__file__).parent / "results"
# (kind of request, checkpoint, connections, promised ratio to plain FastAPI + torch)
CASES = (
    ("classify", "classify-transformer", 64, 2.5),
    ("classify", "classify-lstm", 64, 2.5),
    ("classify", "classify-transformer", 1, 0.8),
    ("classify", "classify-lstm", 1, 0.8),
    ("generate", "generate-lstm", 8, 3.0),
    ("generate", "generate-transformer", 8, 3.0),
)
NEW_TOKENS = 64
GENERATION_STRETCH = 4  # generation is measured this many times as long as classification


def corpus() -> str:
    """Return the text of the largest text file among the demo's data."""
    return max(CORPUS.glob("*.txt"), key=lambda p: p.stat().st_size).read_text(encoding="utf-8")


@contextmanager
def plain(directory: Path) -> Iterator[str]:
    """Run a plain server for the checkpoint, and yield its URL."""
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.plain_server", str(directory), str(port)], cwd=ROOT)
    try:

        def up() -> bool:
            try:
                return httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=2).status_code == 200
            except httpx.HTTPError:
                return False

        wait_until(up, 60, "the plain server")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)


def bodies(kind: str, model: str, texts: list[str], prompts: list[list[int]]) -> tuple[list[bytes], list[bytes]]:
    """Return the request bodies for our service, and those of the same requests for the plain server."""
    if kind == "classify":
        return [json.dumps({"model": model, "input": t}).encode() for t in texts], [
            json.dumps({"input": t}).encode() for t in texts
        ]
    more = {"max_tokens": NEW_TOKENS, "temperature": 0, "ignore_eos": True}
    ours = [json.dumps({"model": model, "prompt": p, **more}).encode() for p in prompts]
    plain_ones = [json.dumps({"prompt": t, "max_tokens": NEW_TOKENS}).encode() for t in texts[: len(prompts)]]
    return ours, plain_ones


def prompts_of(directory: Path, count: int) -> tuple[list[list[int]], list[str]]:
    """Return `count` prompts of 32 tokens, as ids and as texts that encode to these ids."""
    from app.tokenization.tokenizer import Tokenizer

    tokenizer = Tokenizer.load(directory)
    ids = [tokenizer.encode(t)[:32] for t in checkpoints.texts(corpus(), 4 * count, 60, 120)]
    pairs = [(p, tokenizer.decode(p)) for p in ids if len(p) == 32 and tokenizer.encode(tokenizer.decode(p)) == p]
    return [p for p, _ in pairs[:count]], [t for _, t in pairs[:count]]


def measure(ours: Service, directory: Path, case: tuple[str, str, int, float], options: Any) -> dict[str, Any]:
    """Measure both servers in turn for one case. Returns the medians of rates and latencies."""
    kind, model, connections, promised = case
    texts, prompts = checkpoints.texts(corpus(), 512), list[list[int]]()
    if kind == "generate":
        prompts, texts = prompts_of(directory, 32)
    path = "/v1/classify" if kind == "classify" else "/v1/completions"
    our_bodies, plain_bodies = bodies(kind, model, texts, prompts)
    # the plain server handles one generation at a time, so concurrent requests take half a minute
    seconds = options.seconds * (GENERATION_STRETCH if kind == "generate" else 1)
    rounds: dict[str, list[Figures]] = {"ours": [], "plain": []}
    with plain(directory) as plain_url:
        for _ in range(options.rounds):
            rounds["ours"].append(load(ours.url + path, our_bodies, connections, seconds))
            rounds["plain"].append(load(plain_url + path, plain_bodies, connections, seconds))
    factor = NEW_TOKENS if kind == "generate" else 1
    print(f"{model} at {connections}: {rounds}", flush=True)
    medians = {side: statistics.median(f.per_second for f in figures) * factor for side, figures in rounds.items()}
    return {
        "kind": kind, "model": model, "connections": connections, "unit": "tokens/s" if factor > 1 else "requests/s",
        "ours": medians["ours"], "plain": medians["plain"], "ratio": medians["ours"] / medians["plain"],
        "promised": promised, "errors": sum(f.errors for figures in rounds.values() for f in figures),
        "p50_ms": statistics.median(f.p50 for f in rounds["ours"]),
        "p99_ms": statistics.median(f.p99 for f in rounds["ours"]),
        "plain_p50_ms": statistics.median(f.p50 for f in rounds["plain"]),
    }  # fmt: skip


def offline(kind: str, directory: Path, texts: list[str]) -> dict[str, float]:
    """Measure a checkpoint's offline limits in a separate process."""
    texts_file = directory.with_suffix(".texts.json")
    texts_file.write_text(json.dumps(texts))
    command = [sys.executable, "-m", "benchmarks.offline", kind, str(directory), str(texts_file)]
    figures: dict[str, float] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, cwd=ROOT).stdout)
    return figures


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Measure all cases. Returns the content of the result file."""
    with tempfile.TemporaryDirectory() as folder:
        names = [name for name in checkpoints.SHAPES if options.only in name]
        directories = {name: checkpoints.write(name, corpus(), Path(folder)) for name in names}
        texts = checkpoints.texts(corpus(), 512)
        limits = {n: offline(n.split("-")[0], d, texts) for n, d in directories.items()}
        settings = {"OSTINATO_DTYPE": options.dtype}
        with running(Path(folder) / "data", settings=settings) as ours:
            for name, directory in directories.items():
                ours.import_checkpoint(name, checkpoints.pack(directory))
            cases = [measure(ours, directories[case[1]], case, options) for case in CASES if options.only in case[1]]
    for case in cases:
        case["offline"] = limits[case["model"]]
    return {"machine": describe(), "dtype": options.dtype, "rounds": options.rounds, "cases": cases}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--only", default="", help="only the cases whose model name contains this text")
    parser.add_argument("--dtype", default="float32", choices=["auto", "float32", "bfloat16"])
    options = parser.parse_args()
    result = run(options)
    RESULTS.mkdir(exist_ok=True)
    part = f"-{options.only}" if options.only else ""
    (RESULTS / f"bench-{result['dtype']}{part}.json").write_text(json.dumps(result, indent=1) + "\n")
    print(write_performance(RESULTS, ROOT / "docs" / "performance.md"))
    missed = [c for c in result["cases"] if c["ratio"] < c["promised"] or c["errors"]]
    sys.exit(1 if missed else 0)
