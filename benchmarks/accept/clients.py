"""Runs unmodified clients, each in a separate environment, against a service with trained models.

The suites in `tests/clients/suites/` check the content of each reply. The results are in `docs/compatibility.md`.
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
SECONDS = 1800.0  # time limit for an installation, a training run or a suite
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
    """The scripts of a suite, and the packages that its environment needs."""

    packages: tuple[str, ...]
    scripts: tuple[str, ...]

    @property
    def for_node(self) -> bool:
        """Whether the scripts are JavaScript."""
        return any(script.endswith(".mjs") for script in self.scripts)


OPENAI = ("suite_openai.py", "suite_openai_jobs.py", "suite_openai_batches.py")
NPM = ("suite_npm.mjs", "suite_npm_jobs.mjs")
CLIENTS = {  # name of the environment -> suite
    "openai-1": ClientSuite(("openai>=1.109,<2",), OPENAI),
    "openai-2": ClientSuite(("openai>=2,<3",), OPENAI),
    "openai-3": ClientSuite(("openai>=3,<4",), OPENAI),
    "typesafe": ClientSuite(("typesafe-sdk[zstd]>=0.7",), ("suite_typesafe.py",)),
    "langchain": ClientSuite(("langchain-openai>=1.7",), ("suite_langchain.py",)),
    "litellm": ClientSuite(("litellm>=1.110",), ("suite_litellm.py",)),
    "llamaindex": ClientSuite(
        ("llama-index-llms-openai-like>=0.8", "llama-index-embeddings-openai-like"), ("suite_llamaindex.py",)
    ),
    "huggingface": ClientSuite(("huggingface_hub>=1", "numpy"), ("suite_huggingface.py",)),
    "text-generation": ClientSuite(("text-generation",), ("suite_text_generation.py",)),
    "triton": ClientSuite(("tritonclient[http]>=2.73",), ("suite_triton.py",)),
    "torchserve": ClientSuite(("requests",), ("suite_torchserve.py",)),
    "ollama": ClientSuite(("ollama>=0.6",), ("suite_ollama.py",)),
    # The newest major releases, which need Node 22, and the newest ones that run with Node 20.
    "npm": ClientSuite(
        ("openai@^7.59", "ai@^7.0", "@ai-sdk/openai@^4.0", "@ai-sdk/openai-compatible@^3.0", "node@^22.23"), NPM
    ),
    "npm-20": ClientSuite(("openai@^6.49", "ai@^6.0", "@ai-sdk/openai@^3.0", "@ai-sdk/openai-compatible@^2.0"), NPM),
}


def check(record: Record, data: Path | None, folder: Path) -> None:
    for name, suite in CLIENTS.items():
        install(name, suite)
    with running(folder / "data", ready_in=SECONDS) as service:
        train(service, folder)
        results = [entry for name, suite in CLIENTS.items() for entry in run(record, name, suite, service.url)]
    for result in ("works", "refused"):
        record.at_least(f"calls: {result}", sum(entry["result"] == result for entry in results), 1)
    record.equal("calls with another result", [entry for entry in results if entry["result"] == "FAILED"], [])
    record.notes["calls"] = results
    if record.met:
        PAGE.write_text(page(results), encoding="utf-8")


def install(name: str, suite: ClientSuite) -> Path:
    """Install a suite's packages in its environment unless they are already there. Returns the environment's folder."""
    home = ENVIRONMENTS / name
    wanted, installed = "\n".join(suite.packages), home / "installed.txt"
    if installed.exists() and installed.read_text(encoding="utf-8") == wanted:
        return home
    home.mkdir(parents=True, exist_ok=True)
    if suite.for_node:
        quietly(["npm", "install", "--silent", "--prefix", str(home), *suite.packages])
    else:
        if not (home / "bin" / "python").exists():
            quietly([sys.executable, "-m", "venv", str(home)])
        quietly([str(home / "bin" / "python"), "-m", "pip", "install", "--quiet", "--upgrade", *suite.packages])
    installed.write_text(wanted, encoding="utf-8")
    return home


def quietly(command: list[str]) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=SECONDS)


def run(record: Record, name: str, suite: ClientSuite, url: str) -> list[dict[str, str]]:
    """Run the scripts of a suite and return their results."""
    results: list[dict[str, str]] = []
    for script in suite.scripts:
        done = subprocess.run(
            [*command(name, suite, script), url],
            cwd=ENVIRONMENTS / name, capture_output=True, text=True, timeout=SECONDS,
        )  # fmt: skip
        lines = done.stdout.splitlines()
        if done.returncode or not lines:
            record.notes[script] = done.stderr[-3000:]
            record.equal(f"{name}, {script}: status", done.returncode, 0)
        else:
            results += json.loads(lines[-1])
    record.at_least(f"{name}: calls", len(results), 1)
    return results


def command(name: str, suite: ClientSuite, script: str) -> list[str]:
    """Return the command that runs a script in the environment `name`, without the URL.

    Scripts for Node run with the Node in their environment or, if it contains none, with the one of this machine.
    """
    if not suite.for_node:
        return [str(ENVIRONMENTS / name / "bin" / "python"), str(SUITES / script)]
    for module in SUITES.glob("*.mjs"):  # node looks for packages next to the script
        shutil.copy(module, ENVIRONMENTS / name)
    own = ENVIRONMENTS / name / "node_modules" / ".bin" / "node"
    return [str(own) if own.exists() else "node", script]


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
        ("messages.csv", {"model": "lstm", "suffix": "departments", "seed": 1, "training": {"epochs": 12}}),
        (
            "tickets.csv",
            {"model": "lstm", "suffix": "tickets", "task": "multilabel", "seed": 1, "training": {"epochs": 40}},
        ),
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
    """Yield conversations as JSON lines, each with one question and its answer."""
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
