"""Classification and generation with a fake engine, and the number of requests that admission counts."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from app.errors import InvalidRequest, Overloaded
from app.inference.items import Item
from app.inference.queries import GenerationQuery, InferenceQuery
from app.inference.service import Inference
from app.settings import Settings
from app.tokenization.training import train
from tests.checkpoints import make_checkpoint
from tests.fakes import FakeEngine
from tests.inference.engines.test_client import until
from tests.inference.test_versions import Record

PROMPTS: list[Item] = ["ab", "cd"]
MINUTES = 600.0


class TwoDirectories:
    """A cache that contains a classifier and a generator."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        tokenizer = train([], "byte", 512)
        size = {"vocab_size": tokenizer.vocab_size, "context_length": 64}
        make_checkpoint(folder / "mood", **size)
        make_checkpoint(folder / "echo", task="generation", classes=0, labels=(), **size)
        for name in ("mood", "echo"):
            tokenizer.save(folder / name)

    def checkpoint(self, digest_: str, files: object) -> Path:
        return self.folder / digest_


def resolve(reference: str, principal: str) -> Record:
    return Record(f"{reference}:1", reference)


def test_admission_counts_requests_to_an_engine(tmp_path: Path) -> None:
    """A classification of any number of texts counts as one request, as does each continuation of each prompt."""
    settings = Settings(data_dir=str(tmp_path / "data"), max_waiting=7)
    classification = InferenceQuery("mood", ["a", "b", "c"], "local", MINUTES)
    generation = GenerationQuery("echo", PROMPTS, "local", MINUTES, n=3)

    async def scenario() -> None:
        inference = Inference(settings, resolve, TwoDirectories(tmp_path))  # type: ignore[arg-type]
        admission = inference.admission
        with FakeEngine(settings.socket_dir / "engine-0.sock") as engine:
            engine.pid = os.getpid()
            await inference.start()
            await until(lambda: inference.pool.living)
            engine.hold()
            tasks: list[asyncio.Task[object]] = [
                asyncio.create_task(inference.classify(classification)),
                asyncio.create_task(inference.generate(generation)),
            ]
            await until(lambda: admission.requests == 1 + 2 * 3)
            for query in (classification, InferenceQuery("mood", ["a"], "local", MINUTES)):
                with pytest.raises(Overloaded, match="7 requests are waiting") as refused:
                    await inference.classify(query)
                assert refused.value.status == 429 and refused.value.retry_after
            with pytest.raises(InvalidRequest, match=r"at most 7 continuations .* this one has 8") as too_large:
                await inference.generate(GenerationQuery("echo", PROMPTS, "local", MINUTES, n=4))
            assert too_large.value.code == "request_too_large"
            engine.release()
            await asyncio.gather(*tasks)
            await tasks[1].result().close()  # type: ignore[attr-defined]
            assert (admission.requests, admission.tokens) == (0, 0)
            await inference.close()

    asyncio.run(scenario())
