"""SEC-19: a sequence that would occupy the engine for minutes is rejected, and an engine that hangs exits."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from app.wire import engine as wire
from tests.fakes import FakeEngine
from tests.serving import Api, Shelf

LENGTH = 150_000
STUCK = """
import sys, time, torch
from pathlib import Path
from app.engine.limits import StepLimits
from app.engine.process import EngineProcess
engine = EngineProcess(Path(sys.argv[1]), StepLimits(64, 4, 16), torch.device("cpu"), torch.float32, 1, patience=0.1)
engine.host.step = lambda: time.sleep(600)
type(engine.host).ready = property(lambda self: True)
type(engine.host).busy_since = property(lambda self: 0.0)
engine.serve()
"""


@pytest.mark.parametrize("architecture", ["transformer", "lstm"])
def test_an_expensive_sequence_is_refused_before_the_engine_sees_it(
    api: Api, shelf: Shelf, engine: FakeEngine, architecture: str
) -> None:
    width, layers = (256, 4) if architecture == "transformer" else (64, 16)
    shape = {"width": width, "layers": layers, "context_length": 2**20, "vocab_size": 300}
    shelf.classifier("long", architecture=architecture, **shape)
    shelf.classifier("mood")
    with api.client() as client:
        began = time.monotonic()
        for path in ("/v1/classify", "/v1/embeddings"):
            reply = client.post(path, json={"model": "long", "input": [1] * LENGTH, "token_ids_of": "long"})
            assert reply.status_code == 400, reply.text
            assert reply.json()["error"]["code"] == "sequence_too_expensive"
            assert "OSTINATO_MAX_SEQUENCE_SECONDS" in reply.json()["error"]["message"]
        assert time.monotonic() - began < 20
        assert not any(isinstance(message, wire.Score | wire.Embed) for message in engine.received)
        assert client.post("/v1/classify", json={"model": "long", "input": [1] * 1000}).status_code == 200
        assert client.post("/v1/classify", json={"model": "mood", "input": "a"}).status_code == 200


def test_an_expensive_prompt_is_refused(api: Api, shelf: Shelf) -> None:
    shelf.generator("long", architecture="transformer", width=256, context_length=2**20, vocab_size=300)
    with api.client() as client:
        reply = client.post("/v1/completions", json={"model": "long", "prompt": [1] * LENGTH, "max_tokens": 1})
        assert reply.json()["error"]["code"] == "sequence_too_expensive"


def test_an_engine_whose_step_does_not_end_ends_itself(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", STUCK, str(tmp_path / "e.sock")], timeout=120, capture_output=True)
    assert done.returncode == 70, done.stderr
