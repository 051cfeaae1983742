"""Measures what it costs to use eight LoRA adapters of one base at the same time, compared with the base alone.

Three engines take turns in the same run: one with the base, one with eight adapters that share the base, and one with
the same eight adapters merged into eight networks. Requests to the adapters alternate between all of them. The figures
are medians of three rates: texts per second with 64 open requests, or tokens per second with eight or sixteen texts
being generated. The weights are random; the sizes are those of MiniLM-L6 and of the smallest GPT-2.

Usage: python -m benchmarks.adapters [classify] [generate] [--threads N] [--mode bfloat16/onednn] [--processor-time]
(prints one JSON object; --processor-time divides by the processor time instead of the elapsed time, for a machine on
which other programs run)
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from app.process_tuning import share_the_machine

share_the_machine()  # before torch is imported, as in the engine

import torch  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

from app.checkpoint import directory as checkpoint  # noqa: E402
from app.checkpoint.adapter import ADAPTER, PREFIX, LowRankAdapter  # noqa: E402
from app.engine.host import EngineHost  # noqa: E402
from app.engine.lanes import Lanes  # noqa: E402
from app.engine.limits import StepLimits  # noqa: E402
from app.engine.loader_thread import Loader  # noqa: E402
from app.engine.sharing import Sharing  # noqa: E402
from app.tokenization.training import train  # noqa: E402
from app.wire import engine as wire  # noqa: E402
from app.wire.modes import ModeChoice  # noqa: E402
from benchmarks.machine import describe  # noqa: E402
from models.adapters import adapter_shapes  # noqa: E402
from models.choices import ADAPTABLE  # noqa: E402
from models.config import ModelConfig  # noqa: E402
from models.tasks import build  # noqa: E402

ADAPTERS, RANK, ROUNDS, PEER, VOCABULARY = 8, 8, 3, b"benchmark", 4096
CONNECTIONS, TEXTS = 64, 256
PROMPT, NEW_TOKENS = 32, 48
SHAPES = {
    "classify": ModelConfig(
        architecture="transformer", task="classification", vocab_size=VOCABULARY, classes=4, layers=6, width=384,
        heads=12, inner=1536, norm="layer", norm_first=False, final_norm=False, input_norm=True, positions="learned",
        activation="gelu", bias=True,
    ),
    "generate": ModelConfig(
        architecture="transformer", task="generation", vocab_size=VOCABULARY, layers=12, width=768, heads=12,
        norm="layer", positions="learned", activation="gelu_tanh", bias=True,
    ),
}  # fmt: skip


def write(config: ModelConfig, folder: Path) -> list[wire.Load]:
    """Write a base and its adapters. Returns the messages for loading them, the base first."""
    torch.manual_seed(0)
    base = folder / "base"
    base.mkdir(parents=True)
    save_file(build(config).state_dict(), base / checkpoint.WEIGHTS)
    train(["one two three"], "byte", 259).save(base / "tokenizer.json")
    checkpoint.write_json(base / "config.json", {"format_version": 1, **config.to_dict()})
    if config.task == "classification":
        checkpoint.write_json(base / "labels.json", [f"label-{n}" for n in range(config.classes)])
    messages, files = [_message(base)], checkpoint.manifest(base)
    entry = LowRankAdapter(messages[0].digest, files[checkpoint.WEIGHTS].sha256, RANK, 16.0, 0.0, list(ADAPTABLE))
    for number in range(ADAPTERS):
        directory = folder / f"adapter-{number}"
        directory.mkdir()
        for name in files:
            (directory / name).hardlink_to(base / name)
        (directory / "config.json").unlink()
        checkpoint.write_json(
            directory / "config.json", {"format_version": 1, **config.to_dict(), "adapter": asdict(entry)}
        )
        own = {name: 0.02 * torch.randn(shape) for name, shape in adapter_shapes(config, ADAPTABLE, RANK)}
        if config.task == "classification":
            own |= {"head.weight": torch.randn(config.classes, config.width), "head.bias": torch.zeros(config.classes)}
        save_file({PREFIX + name: tensor for name, tensor in own.items()}, directory / ADAPTER)
        messages.append(_message(directory))
    return messages


def _message(directory: Path) -> wire.Load:
    files = checkpoint.manifest(directory)
    return wire.Load(
        checkpoint.digest(files), str(directory), {name: entry.sha256 for name, entry in files.items()}, directory.name
    )


@dataclass
class Fixed:
    """Chooses the same mode for every version, in place of a tuner."""

    mode: str
    threads: int

    def choose(self, version: object) -> ModeChoice:
        return ModeChoice(self.mode, "an option of the benchmark")


class Engine:
    """An engine with some versions. `answered` is called after each final message."""

    def __init__(self, messages: list[wire.Load], sharing: Sharing, lanes: Lanes) -> None:
        self.digests = [message.digest for message in messages]
        self.answered: Callable[[], None] = lambda: None
        limits = StepLimits(max_batch_tokens=16_384, max_slots=64, prefill_tokens=512)
        loader = Loader(sharing.load, lambda: None)
        self.host = EngineHost(limits, loader, self._reply, lanes)
        for message in messages:
            self.host.receive(PEER, message)
        while len(self.host.versions) < len(messages):
            time.sleep(0.01)
            self.host.collect_loads()

    def _reply(self, peer: bytes, message: wire.FromEngine) -> None:
        if isinstance(message, wire.Failed | wire.LoadFailed):
            raise SystemExit(message.message)
        if isinstance(message, wire.Scored | wire.Finished):
            self.answered()

    def run(self, requests: list[Any], open_: int) -> None:
        """Answer all requests, with `open_` open at any time."""
        waiting = iter(requests)

        def send() -> None:
            if (request := next(waiting, None)) is not None:
                self.host.receive(PEER, request)

        self.answered = send
        for _ in range(open_):
            send()
        lanes = self.host.lanes
        while self.host.busy:
            if self.host.ready:
                self.host.step()
            elif lanes is not None:
                lanes.collect_one()


def _classify(engine: Engine) -> int:
    draw = random.Random(0)
    rows = [draw.choices(range(VOCABULARY), k=draw.randint(5, 100)) for _ in range(TEXTS)]
    digests = engine.digests
    engine.run(
        [wire.Score(str(i), digests[i % len(digests)], "local", [row]) for i, row in enumerate(rows)], CONNECTIONS
    )
    return TEXTS


def _generate(count: int) -> Callable[[Engine], int]:
    params = wire.SamplingParams(max_tokens=NEW_TOKENS, temperature=0.0, ignore_eos=True)

    def run(engine: Engine) -> int:
        draw, digests = random.Random(0), engine.digests
        prompts = [draw.choices(range(VOCABULARY), k=PROMPT) for _ in range(count)]
        requests = [
            wire.Generate(str(i), digests[i % len(digests)], "local", prompt, params)
            for i, prompt in enumerate(prompts)
        ]
        engine.run(requests, count)
        return count * NEW_TOKENS

    return run


def measure(engines: dict[str, Engine], work: Callable[[Engine], int], clock: Callable[[], float]) -> dict[str, float]:
    """Return the median rate of each engine. The engines take turns, after one round that does not count."""
    rates: dict[str, list[float]] = {name: [] for name in engines}
    for round_ in range(ROUNDS + 1):
        for name, engine in engines.items():
            began = clock()
            done = work(engine)
            if round_:
                rates[name].append(done / (clock() - began))
    medians = {name: statistics.median(values) for name, values in rates.items()}
    return medians | {"shared / base": medians["shared"] / medians["base"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kinds", nargs="*", choices=[[], *SHAPES], default=[])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--mode", help="data type and kernel (default: what is used without measurements)")
    parser.add_argument("--processor-time", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    tuner: Any = Fixed(options.mode, options.threads) if options.mode else None
    clock = time.process_time if options.processor_time else time.perf_counter
    figures: dict[str, Any] = {"machine": describe(), "threads": options.threads, "mode": options.mode}
    lanes = Lanes(options.threads)
    for kind in options.kinds or SHAPES:
        with tempfile.TemporaryDirectory() as folder:
            base, *adapters = write(SHAPES[kind], Path(folder))
            engines = {
                "base": Engine([base], Sharing(device, torch.float32, tuner), lanes),
                "shared": Engine(adapters, Sharing(device, torch.float32, tuner), lanes),
                "merged": Engine(adapters, Sharing(device, torch.float32, tuner, enabled=False), lanes),
            }
        figures[f"{kind}: MiB"] = {name: round(engine.host.memory.bytes / 2**20) for name, engine in engines.items()}
        works = {"64 connections": _classify} if kind == "classify" else {f"{n} texts": _generate(n) for n in (8, 16)}
        for name, work in works.items():
            figures[f"{kind}: {name}"] = measure(engines, work, clock)
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
