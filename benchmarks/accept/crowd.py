"""Sixteen clients stream from an LSTM and a Transformer, while sixteen others classify texts."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks import checkpoints
from benchmarks.accept.demo import demo_running
from benchmarks.accept.record import Record
from benchmarks.bench import corpus
from benchmarks.service import Service

GENERATORS = ("demo-text-lstm", "demo-text-transformer")
CLASSIFIERS = ("demo-sentiment-lstm", "demo-sentiment-transformer")
CLIENTS, STREAMS_EACH = 16, 6


def _stream(service: Service, number: int) -> tuple[str, str | None]:
    # the prompts are short, so that the continuations also fit into the context
    prompt = checkpoints.texts(corpus(), CLIENTS * STREAMS_EACH, 3, 16)[number]
    model = GENERATORS[number % 2]
    return service.stream(model, prompt, max_tokens=20 + number % 50, temperature=0)


def _classify_until(stop: threading.Event, service: Service, number: int) -> tuple[int, list[str]]:
    done, errors = 0, []
    texts = checkpoints.texts(corpus(), 64, 5, 80)
    while not stop.is_set():
        try:
            service.classify(CLASSIFIERS[number % 2], texts[(number + done) % 64])
        except Exception as error:
            errors.append(str(error))
        done += 1
    return done, errors


def check(record: Record, data: Path | None, folder: Path) -> None:
    with demo_running(folder / "data") as service:
        total = CLIENTS * STREAMS_EACH
        alone = [_stream(service, n) for n in range(total)]
        stop = threading.Event()
        with ThreadPoolExecutor(2 * CLIENTS) as threads:
            classifying = [threads.submit(_classify_until, stop, service, n) for n in range(CLIENTS)]
            streams = [threads.submit(_stream, service, n) for n in range(total)]
            crowd: list[Any] = [s.exception() or s.result() for s in streams]
            stop.set()
            classified = [c.result() for c in classifying]
    record.equal("stream errors", sum(isinstance(c, BaseException) for c in crowd), 0)
    record.equal("classification errors", sum(len(errors) for _, errors in classified), 0)
    record.notes["classification errors"] = sorted({error for _, errors in classified for error in errors})[:5]
    record.at_least("texts classified meanwhile", sum(done for done, _ in classified), 100)
    good = [c for c in crowd if not isinstance(c, BaseException)]
    record.equal("streams without a finish reason", sum(reason not in ("stop", "length") for _, reason in good), 0)
    record.equal("greedy streams that differ from alone", sum(a != c for a, c in zip(alone, crowd, strict=True)), 0)
