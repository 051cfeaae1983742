"""An API with a real engine, and small networks whose output is compared with the replies."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from app.tokenization.tokenizer import Tokenizer
from models.interface import Context
from tests.checkpoints import publish
from tests.engine import builders as b
from tests.serving import Api, Shelf, settings_in, wait_until

VOCABULARY = 259  # of the byte tokenizer that `write_checkpoint` makes
SLOTS = 4


@dataclass
class Real:
    """A running API and engine, with the networks and tokenizers of the versions that it serves, by name."""

    api: Api
    shelf: Shelf
    folder: Path
    networks: dict[str, Any] = field(default_factory=dict)
    tokenizers: dict[str, Tokenizer] = field(default_factory=dict)

    def serve(self, name: str, architecture: str = "lstm", task: str = "generation", **options: Any) -> Any:
        """Return the small network with this name. Creates and registers it if it does not exist."""
        if name not in self.networks:
            if options.get("input", "tokens") == "tokens":
                options.setdefault("vocab_size", VOCABULARY)
            directory = self.folder / name
            self.networks[name], _ = b.write_checkpoint(directory, b.config(architecture, task, **options))
            if options.get("input", "tokens") == "tokens":
                self.tokenizers[name] = Tokenizer.load(directory)
            publish(self.shelf.registry, directory, name, "local")
        return self.networks[name]

    def logprobs(self, name: str, ids: list[int]) -> Tensor:
        """The log-probabilities (T, V) of the next token after each of the ids, computed in one parallel pass."""
        network = self.networks[name]
        with torch.inference_mode():
            logprobs_TV: Tensor = network.logits(network(torch.tensor([ids]), Context())[0]).log_softmax(-1)
        return logprobs_TV


@contextmanager
def running(folder: Path, database: Path, **changes: Any) -> Iterator[Real]:
    """Start an engine and an API in `folder`. `database` is an empty SQLite file with the tables; `changes` are
    settings."""
    data = folder / "data"
    data.mkdir()
    (data / "ostinato.db").write_bytes(database.read_bytes())
    settings = settings_in(data, **changes)
    socket = settings.socket_dir / "engine-0.sock"
    command = [sys.executable, "-m", "app.engine", "--socket", str(socket), "--threads", "1", "--max-slots", str(SLOTS)]
    with (folder / "engine.log").open("wb") as log:
        engine = subprocess.Popen(command, stderr=log)
    shelf = Shelf(settings, folder)
    try:
        with Api(settings) as api:
            wait_until(lambda: api.services.readiness.report().ready, 60)
            yield Real(api, shelf, folder)
    finally:
        shelf.close()
        engine.terminate()
        assert engine.wait(20) == 0
