"""Every load has an outcome, even after an unexpected error."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from app.engine import loader
from app.engine.loader_thread import attempt
from app.errors import Unavailable
from tests.engine import builders as b


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried to ..."
        ),
    ],
    ids=["python", "torch"],
)
def test_running_out_of_memory_is_not_reported_as_a_broken_checkpoint(
    tmp_path: Path, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise error

    monkeypatch.setattr(loader, "load_file", full)
    _, message = b.write_checkpoint(tmp_path / "m", b.config())
    outcome = attempt(lambda message: [loader.load(message, b.CPU, torch.float32)], message)
    assert isinstance(outcome.result, Unavailable) and outcome.result.code == "out_of_memory"
