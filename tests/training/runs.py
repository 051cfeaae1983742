"""Creates run directories and starts the trainer, as the worker does."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from app.training.events import Events
from app.training.run.preparation import Machine
from app.training.run.session import Session
from app.wire.trainer import DataFile, Note, TrainEvent, TrainSpec
from app.wire.training_options import Columns, TrainingOptions

WORDS = [
    "the",
    "quick",
    "brown",
    "fox",
    "jumps",
    "over",
    "a",
    "lazy",
    "dog",
    "while",
    "seven",
    "grey",
    "geese",
    "walk",
    "home",
    "in",
    "summer",
    "rain",
]
MOODS = {"good": ["lovely", "bright", "kind"], "bad": ["awful", "dark", "cruel"]}


def sentences(count: int) -> Iterator[tuple[str, str]]:
    """Yield pairs of a text and its label. One word of each text depends on the label."""
    for number in range(count):
        label = ("good", "bad")[number % 2]
        words = [WORDS[(number * 7 + k * (3 + number % 5)) % len(WORDS)] for k in range(3 + number % 9)]
        words.insert(number % len(words), MOODS[label][number % 3])
        yield f"{' '.join(words)} {number}", label


def table(count: int = 240) -> str:
    return "text,label\n" + "".join(f"{text},{label}\n" for text, label in sentences(count))


def book(count: int = 600) -> str:
    return "".join(f"{text}, said the {label} one.\n" for text, label in sentences(count))


def make(run: Path, name: str, content: str | bytes, model: str = "lstm", **spec: Any) -> Path:
    """Make a run directory for one data file. `training` and `columns` may be plain objects.

    There is no baseline unless `training` asks for one, because it would take longer than most of these runs.
    """
    file = put(run, name, content)
    if "validation" in spec:
        held_out_name, held_out = spec.pop("validation")
        spec["validation_file"] = put(run, held_out_name, held_out)
    spec["training"] = msgspec.convert({"baseline": False} | spec.get("training", {}), TrainingOptions)
    spec["columns"] = msgspec.convert(spec.get("columns", {}), Columns)
    spec.setdefault("seed", 7)
    (run / "run.json").write_bytes(msgspec.json.encode(TrainSpec(model, file, **spec)))
    return run


def put(run: Path, name: str, content: str | bytes) -> DataFile:
    """Write an input file of a run."""
    data = content.encode() if isinstance(content, str) else content
    (run / "inputs").mkdir(parents=True, exist_ok=True)
    (run / "inputs" / name).write_bytes(data)
    return DataFile(f"inputs/{name}", name, hashlib.sha256(data).hexdigest())


class Heard(Events):
    """Stores events instead of sending them."""

    def __init__(self) -> None:
        super().__init__(None)
        self.events: list[TrainEvent] = []

    def emit(self, event: TrainEvent) -> None:
        self.events.append(msgspec.json.decode(msgspec.json.encode(event), type=TrainEvent))


def train(run: Path, stopping: Callable[[], bool] = lambda: False) -> list[TrainEvent]:
    """Train in this process, with one thread."""
    heard = Heard()
    Session(run, heard, stopping, Machine(threads=1, device="cpu")).attempt()
    return heard.events


def notes(events: list[TrainEvent]) -> tuple[dict[str, Any], dict[str, str]]:
    """The data report of a training run, and its warnings by kind."""
    notes = [event for event in events if isinstance(event, Note)]
    report = next((note.data for note in notes if note.kind == "data_report"), {})
    return report, {note.kind: note.message for note in notes if note.level == "warn"}


@contextmanager
def trainer(run: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Start the trainer in a separate process group. `stdout` of the process contains the events."""
    reading, writing = os.pipe()
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [
        sys.executable,
        "-m",
        "app.training",
        str(run),
        "--events-fd",
        str(writing),
        "--threads",
        "1",
        "--device",
        "cpu",
    ]
    with (run / "trainer.log").open("ab") as log:
        process = subprocess.Popen(
            [*command, *arguments],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            pass_fds=[writing],
            env=environment,
            start_new_session=True,
        )
    os.close(writing)
    process.stdout = os.fdopen(reading, "rb")
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert process.stdin is not None
        process.stdin.close()
        process.stdout.close()


def events(process: subprocess.Popen[bytes]) -> Iterator[TrainEvent]:
    """Yield events as they arrive, until the program ends."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.endswith(b"\n"):  # a kill may have cut the last one
            yield msgspec.json.decode(line, type=TrainEvent)


def digest(run: Path) -> str:
    """The hash of the trained weights: those of the network or, for an adapter, its own."""
    files = [run / "checkpoint" / name for name in ("adapter_model.safetensors", "model.safetensors")]
    return hashlib.sha256(next(file for file in files if file.exists()).read_bytes()).hexdigest()


def settled(run: Path) -> dict[str, Any]:
    settings: dict[str, Any] = json.loads((run / "settled.json").read_text())
    return settings
