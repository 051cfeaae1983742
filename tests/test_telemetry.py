from __future__ import annotations

import json
import logging

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

from app.telemetry import KEPT_SECONDS, JsonLines, ModelSeries, TextLines, _AddIds, about, request_id


def record(message: str, **extra: object) -> logging.LogRecord:
    entry = logging.LogRecord("room", logging.INFO, __file__, 1, message, (), None)
    entry.__dict__ |= extra
    return entry


def test_text_lines_cannot_be_forged() -> None:
    line = TextLines().format(record("one\n2026 error fake \x1b[31m red"))
    assert "\n" not in line and "\x1b" not in line and "one\\n2026" in line


def test_log_lines_carry_the_ids_of_the_block_that_they_are_in() -> None:
    def line() -> dict[str, object]:
        entry = record("x")
        _AddIds().filter(entry)
        return json.loads(JsonLines("worker").format(entry))

    with about("req-1", "ftjob-1"):
        assert (line()["request_id"], line()["job_id"]) == ("req-1", "ftjob-1")
        with about("req-2"):
            assert line()["request_id"] == "req-2" and "job_id" not in line()
        entry = record("x")
        _AddIds().filter(entry)
        assert "[req-1 ftjob-1] x" in TextLines().format(entry)
    assert "request_id" not in line() and "job_id" not in line()


def test_json_lines_carry_the_request_and_the_data() -> None:
    token = request_id.set("req-1")
    try:
        entry = record("hello\nworld", data={"status": 200})
        _AddIds().filter(entry)
    finally:
        request_id.reset(token)
    text = JsonLines("api").format(entry)
    assert "\n" not in text
    line = json.loads(text)
    assert (line["request_id"], line["program"], line["status"], line["message"]) == (
        "req-1",
        "api",
        200,
        "hello\nworld",
    )


class Metrics:
    """Two metrics with a label for the model, their series, and a clock."""

    def __init__(self, most: int = 1000) -> None:
        self.registry, self.now = CollectorRegistry(), 0.0
        self.answers = Counter("answers", "", ("model_name", "reason"), registry=self.registry)
        self.running = Gauge("running", "", ("model_name",), registry=self.registry)
        self.series = ModelSeries([self.answers, self.running], most=most, clock=lambda: self.now)

    def request(self, model: str) -> None:
        self.series.begin(model)
        self.running.labels(model).inc()
        for reason in ("stop", "length"):
            self.answers.labels(model, reason).inc()
        self.running.labels(model).dec()
        self.series.end(model)

    @property
    def models(self) -> set[str]:
        lines = generate_latest(self.registry).decode().splitlines()
        return {line.partition('model_name="')[2].partition('"')[0] for line in lines if "model_name" in line}


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


def test_the_series_of_unused_models_are_dropped(metrics: Metrics) -> None:
    for number in range(300):
        metrics.request(f"m:{number}")
        metrics.now += KEPT_SECONDS / 10
        metrics.series.expire([])
        assert len(metrics.series) <= 11
    assert metrics.models == {f"m:{number}" for number in range(290, 300)}
    metrics.now += KEPT_SECONDS + 1
    metrics.series.expire([])
    assert metrics.models == set() and len(metrics.series) == 0 and not metrics.series._open


def test_a_model_keeps_its_series_while_it_is_loaded_or_has_open_requests(metrics: Metrics) -> None:
    metrics.request("loaded:1")
    metrics.series.begin("open:1")
    metrics.running.labels("open:1").inc()
    for _ in range(10):
        metrics.now += KEPT_SECONDS
        metrics.series.expire(["loaded:1", "never-asked:1"])
    assert metrics.models == {"loaded:1", "open:1"}
    metrics.running.labels("open:1").dec()
    metrics.series.end("open:1")
    metrics.now += KEPT_SECONDS + 1
    metrics.series.expire(["loaded:1"])
    assert metrics.models == {"loaded:1"}


def test_the_number_of_models_with_series_is_bounded() -> None:
    metrics = Metrics(most=10)
    metrics.series.begin("open:1")
    metrics.running.labels("open:1").inc()
    for number in range(300):
        metrics.request(f"m:{number}")
    assert metrics.models == {"open:1", *(f"m:{number}" for number in range(291, 300))}
