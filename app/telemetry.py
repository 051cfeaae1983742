"""Log lines and metrics, in one form for every program.

Knows how a line looks, which request and job it belongs to and what the metrics are called (API processes serve them
at `/metrics`); knows nothing of what is measured.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

request_id: ContextVar[str] = ContextVar("request_id", default="")
job_id: ContextVar[str] = ContextVar("job_id", default="")

METRICS = CollectorRegistry()
LATENCY = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)


def _counter(name: str, meaning: str, *labels: str) -> Counter:
    return Counter(f"ostinato_{name}", meaning, labels, registry=METRICS)


def _gauge(name: str, meaning: str, *labels: str) -> Gauge:
    return Gauge(f"ostinato_{name}", meaning, labels, registry=METRICS)


def _histogram(name: str, meaning: str, *labels: str, buckets: tuple[float, ...] = LATENCY) -> Histogram:
    return Histogram(f"ostinato_{name}", meaning, labels, registry=METRICS, buckets=buckets)


http_requests = _counter("http_requests", "HTTP replies", "method", "route", "status")
num_requests_running = _gauge(
    "num_requests_running", "Generations since their first token, other requests since an engine has them", "model_name"
)
num_requests_waiting = _gauge("num_requests_waiting", "Admitted sequences that do not run yet", "model_name")
e2e_request_latency = _histogram("e2e_request_latency_seconds", "From admission to the final message", "model_name")
time_to_first_token = _histogram("time_to_first_token_seconds", "From admission to a first token", "model_name")
inter_token_latency = _histogram("inter_token_latency_seconds", "Between two tokens of a sequence", "model_name")
request_queue_time = _histogram("request_queue_time_seconds", "Waiting in the engine", "model_name")
request_prefill_time = _histogram("request_prefill_time_seconds", "From a place to the first token", "model_name")
request_decode_time = _histogram("request_decode_time_seconds", "From the first token to the last", "model_name")
request_inference_time = _histogram("request_inference_time_seconds", "From a place to the end", "model_name")
request_prompt_tokens = _histogram("request_prompt_tokens", "Tokens of a request", "model_name", buckets=SIZES)
prompt_tokens = _counter("prompt_tokens", "Tokens read", "model_name")
generation_tokens = _counter("generation_tokens", "Tokens generated", "model_name")
request_success = _counter("request_success", "Sequences answered", "model_name", "finished_reason")
request_failure = _counter("request_failure", "Requests that ended with an error", "code")
rejected = _counter("rejected", "Requests refused before any work", "reason")
cancelled = _counter("cancelled", "Requests whose client went away", "stage")
model_load_seconds = _histogram("model_load_seconds", "Loading a version into an engine", "model_name")
engine_losses = _counter("engine_losses", "Engines that fell silent with requests open or not")
quarantined = _counter("quarantined", "Requests that are refused since they ended engines")


@contextmanager
def about(request: str | None, job: str = "") -> Iterator[None]:
    """Log lines from within carry these ids."""
    tokens = request_id.set(request or ""), job_id.set(job)
    try:
        yield
    finally:
        request_id.reset(tokens[0])
        job_id.reset(tokens[1])


class _Subject(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id, record.job_id = request_id.get(), job_id.get()
        return True


class TextLines(logging.Formatter):
    """One line a record: control characters of a message are escaped, so that nobody can forge a line."""

    def format(self, record: logging.LogRecord) -> str:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        mark = " ".join(filter(None, (getattr(record, "request_id", ""), getattr(record, "job_id", ""))))
        head = f"{stamp}.{int(record.msecs):03d}Z {record.levelname.lower():7} {record.name}"
        line = f"{head}{f' [{mark}]' if mark else ''} {_one_line(record.getMessage())}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


class JsonLines(logging.Formatter):
    """One JSON object a record: time, level, logger, program, message, the record's `data`, and the
    request_id and job_id where there are any."""

    def __init__(self, program: str) -> None:
        super().__init__()
        self.program = program

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": round(record.created, 3),
            "level": record.levelname.lower(),
            "logger": record.name,
            "program": self.program,
            "message": record.getMessage(),
        }
        for name in ("request_id", "job_id"):
            if mark := getattr(record, name, ""):
                line[name] = mark
        line |= getattr(record, "data", None) or {}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def _one_line(message: str) -> str:
    if message.isprintable():
        return message
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in message)


def setup(program: str, log_format: str = "text", log_level: str = "info") -> None:
    """Send all log lines of this process to standard error, in one form."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(program) if log_format == "json" else TextLines())
    handler.addFilter(_Subject())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(log_level.upper())
    for noisy in ("httpx", "httpcore", "asyncio", "alembic"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, root.level))
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it warns of its first cache of fonts, in any thread
