"""Runs existing clients, unmodified and each in its own environment, against trained models.

Every suite in `tests/clients/suites/` checks the content of each reply. The results become `docs/compatibility.md`.
"""

from __future__ import annotations

import json
import math
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.accept.compatibility import PAGE, page
from benchmarks.accept.record import Record
from benchmarks.service import Service, running

ROOT = Path(__file__).parents[2]
SUITES, ENVIRONMENTS = ROOT / "tests" / "clients" / "suites", ROOT / "build" / "clients"
SECONDS = 1800.0  # patience for an installation, a training run or a suite
ANSWERS = {"drink?": "Grüner Tee 緑茶.", "city?": "Köln.", "name?": "Ada."}
ASSISTANTS: dict[str, dict[str, Any]] = {
    "lstm": {"tokenizer": "bpe", "vocab_size": 300, "max_steps": 500, "width": 64, "layers": 1},
    "transformer": {"tokenizer": "byte", "max_steps": 120, "width": 32, "layers": 2, "heads": 2},
}
MEMORISING = {
    "batch_size": 8, "context_length": 128, "eval_every": 1000, "learning_rate": 0.01, "dropout": 0.0,
    "weight_decay": 0.0, "label_smoothing": 0.0,
}  # fmt: skip
TICKETS = (
    ("the app crashes at start", "bug"),
    ("a crash after the update", "bug"),
    ("it crashes when i save", "bug"),
    ("charged twice this month", "billing"),
    ("the invoice is wrong", "billing"),
    ("please refund the payment", "billing"),
    ("the app crashes on the payment page and charged me", "bug|billing"),
    ("thank you for the help", ""),
    ("nice update", ""),
)


@dataclass(frozen=True)
class ClientSuite:
    """A suite, and the packages that its environment needs."""

    script: str
    packages: tuple[str, ...]


CLIENTS = {  # name of the environment -> suite
    "openai-1": ClientSuite("suite_openai.py", ("openai>=1.109,<2",)),
    "openai-2": ClientSuite("suite_openai.py", ("openai>=2,<3",)),
    "openai-3": ClientSuite("suite_openai.py", ("openai>=3,<4",)),
    "typesafe": ClientSuite("suite_typesafe.py", ("typesafe-sdk[zstd]",)),
    "langchain": ClientSuite("suite_langchain.py", ("langchain-openai",)),
    "litellm": ClientSuite("suite_litellm.py", ("litellm",)),
    "llamaindex": ClientSuite(
        "suite_llamaindex.py", ("llama-index-llms-openai-like", "llama-index-embeddings-openai-like")
    ),
    "huggingface": ClientSuite("suite_huggingface.py", ("huggingface_hub>=1", "numpy")),
    "text-generation": ClientSuite("suite_text_generation.py", ("text-generation",)),
    "triton": ClientSuite("suite_triton.py", ("tritonclient[http]",)),
    "torchserve": ClientSuite("suite_torchserve.py", ("requests",)),
    "ollama": ClientSuite("suite_ollama.py", ("ollama",)),
    "npm": ClientSuite("suite_npm.mjs", ("openai", "ai", "@ai-sdk/openai", "@ai-sdk/openai-compatible")),
}


def check(record: Record, data: Path | None, folder: Path) -> None:
    commands = {name: install(name, suite) for name, suite in CLIENTS.items()}
    with running(folder / "data", ready_in=SECONDS) as service:
        train(service, folder)
        results = [entry for name, command in commands.items() for entry in run(record, name, command, service.url)]
    for result in ("works", "refused"):
        record.at_least(f"calls: {result}", sum(entry["result"] == result for entry in results), 1)
    record.equal("calls with another result", [entry for entry in results if entry["result"] == "FAILED"], [])
    record.notes["calls"] = results
    if record.met:
        PAGE.write_text(page(results), encoding="utf-8")


def install(name: str, suite: ClientSuite) -> list[str]:
    """Install a suite's packages in its environment, and return the command that runs the suite, without the URL."""
    home = ENVIRONMENTS / name
    if suite.script.endswith(".mjs"):
        home.mkdir(parents=True, exist_ok=True)
        shutil.copy(SUITES / suite.script, home)  # node looks for packages beside the script
        if not (home / "node_modules").exists():
            quietly(["npm", "install", "--silent", "--prefix", str(home), *suite.packages])
        return ["node", suite.script]
    python = home / "bin" / "python"
    if not python.exists():
        quietly([sys.executable, "-m", "venv", str(home)])
    quietly([str(python), "-m", "pip", "install", "--quiet", *suite.packages])
    return [str(python), str(SUITES / suite.script)]


def quietly(command: list[str]) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=SECONDS)


def run(record: Record, name: str, command: list[str], url: str) -> list[dict[str, str]]:
    """Run one suite and return its results."""
    done = subprocess.run([*command, url], cwd=ENVIRONMENTS / name, capture_output=True, text=True, timeout=SECONDS)
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        record.notes[name] = done.stderr[-3000:]
        record.equal(f"{name}: status", done.returncode, 0)
        return []
    results: list[dict[str, str]] = json.loads(lines[-1])
    record.at_least(f"{name}: calls", len(results), 1)
    return results


def train(service: Service, folder: Path) -> None:
    """Train the models that the suites call. Raises RuntimeError if a training run fails."""
    files = {
        "chats.jsonl": "\n".join(conversations()),
        "waves.jsonl": "\n".join(waves()),
        "tickets.csv": "text,label\n" + "".join(f"{text},{label}\n" for text, label in TICKETS * 12),
    }
    for name, content in files.items():
        (folder / name).write_text(content, encoding="utf-8")
    shutil.copy(ROOT / "examples" / "messages.csv", folder)
    jobs: list[tuple[str, dict[str, Any]]] = [
        ("messages.csv", {"model": "lstm", "suffix": "departments", "training": {"epochs": 12}}),
        ("tickets.csv", {"model": "lstm", "suffix": "tickets", "task": "multilabel", "training": {"epochs": 40}}),
        ("waves.jsonl", {"model": "gru", "suffix": "waves", "seed": 1, "training": {"epochs": 10}}),
        *(
            (
                "chats.jsonl",
                {"model": name, "suffix": f"assistant-{name}", "seed": 1, "training": {**MEMORISING, **options}},
            )
            for name, options in ASSISTANTS.items()
        ),
    ]
    started = [service.train(training_file=service.upload(folder / file), **request)["id"] for file, request in jobs]
    for job_id in started:
        job = service.finish(job_id, SECONDS)
        if job["status"] != "succeeded":
            raise RuntimeError(f"{job['model']}: {job['error']}")


def conversations(count: int = 200) -> Iterator[str]:
    """Yield conversations of one question and one answer, as JSON lines."""
    draw = random.Random(0)
    for number in range(count):
        messages = [{"role": "system", "content": f"{number}"}] if number % 3 == 0 else []
        question = draw.choice(list(ANSWERS))
        messages.append({"role": "user", "content": question})
        messages.append({"role": "assistant", "content": ANSWERS[question]})
        yield json.dumps({"messages": messages}, ensure_ascii=False)


def waves(count: int = 240) -> Iterator[str]:
    """Yield slow and fast sine waves as JSON lines. A step is a value and its time."""
    draw = random.Random(0)
    for number in range(count):
        label, speed = (("slow", 0.3), ("fast", 1.2))[number % 2]
        start = draw.random() * 6
        steps = [[round(math.sin(start + speed * t) + draw.gauss(0, 0.1), 3), t / 20] for t in range(20)]
        yield json.dumps({"features": steps, "label": label})
