"""Logging and metrics for all programs. API processes serve the metrics at `/metrics`."""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from collections import Counter as Multiset
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Self, TypeVar

from prometheus_client import CollectorRegistry

from app.metrics import Counter, Gauge, Histogram

request_id: ContextVar[str] = ContextVar("request_id", default="")
job_id: ContextVar[str] = ContextVar("job_id", default="")

M = TypeVar("M", Counter, Gauge, Histogram)
METRICS = CollectorRegistry()
LATENCY = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
MODEL = "model_name"
KEPT_SECONDS, MOST_MODELS = 600.0, 1000  # how long an unused model's series are kept, and the maximum number of models
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)
_by_model: list[Counter | Gauge | Histogram] = []  # the metrics with the label `model_name`


def _counter(name: str, meaning: str, *labels: str) -> Counter:
    return _registered(Counter(f"ostinato_{name}", meaning, labels, registry=METRICS), labels)


def _gauge(name: str, meaning: str, *labels: str) -> Gauge:
    return _registered(Gauge(f"ostinato_{name}", meaning, labels, registry=METRICS), labels)


def _histogram(name: str, meaning: str, *labels: str, buckets: tuple[float, ...] = LATENCY) -> Histogram:
    return _registered(Histogram(f"ostinato_{name}", meaning, labels, registry=METRICS, buckets=buckets), labels)


def _registered(metric: M, labels: tuple[str, ...]) -> M:
    if MODEL in labels:
        _by_model.append(metric)
    return metric


http_requests = _counter("http_requests", "HTTP responses", "method", "route", "status")
num_requests_running = _gauge(
    "num_requests_running",
    "Running requests: generations after their first token, and other requests after they were sent to an engine",
    "model_name",
)
num_requests_waiting = _gauge("num_requests_waiting", "Admitted requests that are not running yet", "model_name")
e2e_request_latency = _histogram(
    "e2e_request_latency_seconds", "Time from admission to the final message", "model_name"
)
time_to_first_token = _histogram(
    "time_to_first_token_seconds", "Time from admission to the first token of a sequence", "model_name"
)
inter_token_latency = _histogram("inter_token_latency_seconds", "Time between two tokens of a sequence", "model_name")
request_queue_time = _histogram("request_queue_time_seconds", "Time in the engine's queue", "model_name")
request_prefill_time = _histogram(
    "request_prefill_time_seconds", "Time from the start of processing in the engine to the first token", "model_name"
)
request_decode_time = _histogram(
    "request_decode_time_seconds", "Time from the first token to the last token", "model_name"
)
request_inference_time = _histogram(
    "request_inference_time_seconds", "Time from the start to the end of processing in the engine", "model_name"
)
request_prompt_tokens = _histogram("request_prompt_tokens", "Prompt tokens of a request", "model_name", buckets=SIZES)
prompt_tokens = _counter("prompt_tokens", "Prompt tokens processed", "model_name")
generation_tokens = _counter("generation_tokens", "Tokens generated", "model_name")
request_success = _counter("request_success", "Sequences answered", "model_name", "finished_reason")
request_failure = _counter("request_failure", "Requests that ended with an error", "code")
rejected = _counter("rejected", "Requests rejected before any work was done", "reason")
cancelled = _counter("cancelled", "Requests whose client disconnected", "stage")
model_load_seconds = _histogram("model_load_seconds", "Time to load a version into an engine", "model_name")
stale_answers = _counter("stale_answers", "References resolved from the cache because the database did not respond")
engine_losses = _counter("engine_losses", "Engines that died or stopped responding")
quarantined = _counter("quarantined", "Requests put into quarantine because they crashed engines")


class ModelSeries:
    """Tracks which models have metric series, and drops the series of unused models to limit their number.

    A model's series are kept while the model has open requests or is loaded in an engine, and for `seconds` afterwards,
    so that Prometheus has time to read the last values. If more than `most` models have series, the series of the least
    recently used models without open requests are dropped immediately. If a model is used again later, its counters
    start from zero, as after a restart of the process. Thread-safe.
    """

    def __init__(
        self,
        metrics: Sequence[Counter | Gauge | Histogram],
        seconds: float = KEPT_SECONDS,
        most: int = MOST_MODELS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._metrics, self._seconds, self._most, self._clock = metrics, seconds, most, clock
        self._used: OrderedDict[str, float] = OrderedDict()  # model -> time of its last use, oldest first
        self._open: Multiset[str] = Multiset()  # model -> number of its open requests
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._used)

    def use(self, model: str) -> None:
        """Record that the model has been used. Call this before recording a value for the model."""
        with self._lock:
            self._touch(model)
            if (excess := len(self._used) - self._most) > 0:
                idle = [name for name in self._used if not self._open[name] and name != model]
                for name in idle[:excess]:
                    self._drop(name)

    def begin(self, model: str) -> None:
        """Record that a request for the model has started.

        The model's series are kept at least until `end` is called.
        """
        with self._lock:
            self._open[model] += 1
        self.use(model)

    def end(self, model: str) -> None:
        """Record the end of a request for the model."""
        with self._lock:
            self._touch(model)
            self._open[model] -= 1
            if not self._open[model]:
                del self._open[model]

    def expire(self, loaded: Iterable[str]) -> None:
        """Drop the series of unused models. `loaded` contains the models that at least one engine has loaded."""
        with self._lock:
            for model in loaded:
                if model in self._used:
                    self._touch(model)
            before = self._clock() - self._seconds
            for model in [name for name, at in self._used.items() if at < before and not self._open[name]]:
                self._drop(model)

    def _touch(self, model: str) -> None:
        self._used[model] = self._clock()
        self._used.move_to_end(model)

    def _drop(self, model: str) -> None:
        del self._used[model]
        for metric in self._metrics:
            metric.remove_by_labels({MODEL: model})


model_series = ModelSeries(_by_model)


@contextmanager
def about(request: str | None, job: str = "") -> Iterator[None]:
    """Context manager that adds a request id and a job id to all log lines written within its block."""
    tokens = request_id.set(request or ""), job_id.set(job)
    try:
        yield
    finally:
        request_id.reset(tokens[0])
        job_id.reset(tokens[1])


class _AddIds(logging.Filter):
    """Adds the ids set by `about` to every log record."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id, record.job_id = request_id.get(), job_id.get()
        return True


@dataclass(frozen=True, slots=True)
class Line:
    """The fields of a log line. `created` is in seconds since the epoch.

    `data` contains additional fields for JSON lines.
    """

    created: float
    level: str
    logger: str
    message: str
    request_id: str = ""
    job_id: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, record: logging.LogRecord) -> Self:
        """Return the fields of a record, including the ids added by `_AddIds`."""
        ids = getattr(record, "request_id", ""), getattr(record, "job_id", "")
        data = getattr(record, "data", None) or {}
        return cls(record.created, record.levelname.lower(), record.name, record.getMessage(), *ids, data)


class TextLines(logging.Formatter):
    """Formats a record as one line. Control characters are escaped, so that a message cannot forge a log line."""

    def format(self, record: logging.LogRecord) -> str:
        line = self.compose(Line.of(record))
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line

    def compose(self, line: Line) -> str:
        """Format a line as text, without the exception."""
        ids = " ".join(filter(None, (line.request_id, line.job_id)))
        seconds, fraction = divmod(line.created, 1)
        head = f"{_stamp(int(seconds))}.{int(1000 * fraction):03d}Z {line.level:7} {line.logger}"
        return f"{head}{f' [{ids}]' if ids else ''} {_escape(line.message)}"


class JsonLines(logging.Formatter):
    """Formats a record as one JSON object: time, level, logger, program, message, ids, and the fields of `data`."""

    def __init__(self, program: str) -> None:
        super().__init__()
        self.program = program

    def format(self, record: logging.LogRecord) -> str:
        exception = {"exception": self.formatException(record.exc_info)} if record.exc_info else {}
        return self.compose(Line.of(record), exception)

    def compose(self, line: Line, more: Mapping[str, Any] = {}) -> str:
        """Format a line as JSON. `more` contains fields that take precedence over `data`; values of unknown types
        become text."""
        ids = {"request_id": line.request_id, "job_id": line.job_id}
        content = {
            "time": round(line.created, 3),
            "level": line.level,
            "logger": line.logger,
            "program": self.program,
            "message": line.message,
            **{name: id_ for name, id_ in ids.items() if id_},
            **line.data,
            **more,
        }
        return json.dumps(content, default=str)


@lru_cache(maxsize=8)
def _stamp(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


def _escape(message: str) -> str:
    if message.isprintable():
        return message
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in message)


def setup(program: str, log_format: str = "text", log_level: str = "info") -> None:
    """Configure logging: this process writes all its log lines to standard error, in one format."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(program) if log_format == "json" else TextLines())
    handler.addFilter(_AddIds())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(log_level.upper())
    for noisy in ("httpx", "httpcore", "asyncio", "alembic"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, root.level))
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # hides warnings about building the font cache


def write(lines: Sequence[Line]) -> None:
    """Write many log lines in one operation, to the output configured by `setup`.

    Much faster than logging each line.
    """
    for handler in logging.getLogger().handlers:
        formatter = handler.formatter
        if isinstance(handler, logging.StreamHandler) and isinstance(formatter, TextLines | JsonLines):
            with handler.lock or nullcontext():
                handler.stream.write("".join(f"{formatter.compose(line)}\n" for line in lines))
                handler.flush()
