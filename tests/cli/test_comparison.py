"""`ostinato models search` and `compare`."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qs

import pytest

from tests.cli.conftest import Run
from tests.cli.service import VERSION, Service, listed


def test_versions_are_compared_by_the_service(service: Service, ostinato: Run) -> None:
    versions = [
        VERSION | {"version": n, "config": {"layers": n, "width": 64}, "digest": f"{n}" * 64} for n in (2, 3, 4)
    ]
    accuracy, same = [0.75, None, 0.8], [1.0, 1.0, 1.0]
    reply = {
        "object": "model.comparison", "versions": versions, "best": {"test.accuracy": 2, "test.loss": 0},
        "figures": {"test.accuracy": accuracy, "test.loss": same},
    }  # fmt: skip
    service.routes["GET /v1/registry/compare"] = (200, reply)
    names = ("reviews:2", "reviews@old", "reviews")
    lines = [line.split() for line in ostinato("models", "compare", *names).out.splitlines()]
    assert service.requests[0].query == "versions=reviews%3A2%2Creviews%40old%2Creviews"
    assert lines[0] == ["REVIEWS:2", "REVIEWS@OLD", "REVIEWS"]
    assert ["config.layers", "2", "3", "4"] in lines and ["test.accuracy", "0.75", "-", "0.8", "*"] in lines
    assert [line[0] for line in lines[1:]] == ["test.accuracy", "config.layers", "digest"]
    assert json.loads(ostinato("models", "compare", *names, "--json").out) == reply
    assert ostinato("models", "compare", "reviews").status == 1


def test_a_calibration_error_on_few_rows_is_not_compared(service: Service, ostinato: Run) -> None:
    figures = {"test.ece": [0.115, 0.02], "test.rows": [95, 400]}
    reply = {"object": "model.comparison", "versions": [VERSION, VERSION], "best": {"test.ece": 1}, "figures": figures}
    service.routes["GET /v1/registry/compare"] = (200, reply)
    lines = ostinato("models", "compare", "reviews:2", "reviews:3").out.splitlines()
    assert lines[1].split() == ["test.ece", "too", "few", "rows", "0.02"]


def test_a_linear_model_has_no_layers_to_compare(service: Service, ostinato: Run) -> None:
    network = VERSION | {"config": {"architecture": "gru", "layers": 2, "width": 64, "pooling": "attention"}}
    linear = VERSION | {"config": network["config"] | {"architecture": "linear", "width": 256, "ngram_buckets": 65536}}
    reply = {"object": "model.comparison", "versions": [network, linear], "best": {}, "figures": {}}
    service.routes["GET /v1/registry/compare"] = (200, reply)
    lines = [line.split() for line in ostinato("models", "compare", "reviews:2", "reviews:3").out.splitlines()]
    assert lines[1:] == [
        ["config.architecture", "gru", "linear"],
        ["config.layers", "2"],
        ["config.width", "64"],
        ["config.pooling", "attention"],
        ["config.ngram_buckets", "65536"],
    ]


def test_a_comparison_fits_the_terminal(service: Service, ostinato: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = [f"label {n}" for n in range(40)]
    versions = [
        VERSION | {"version": n, "digest": f"{n}" * 64, "config": {"labels": labels[n:], "width": n}} for n in (2, 3, 4)
    ]
    details = {f"test.labels.{label}.f1": [0.1, 0.2, 0.3] for label in labels}
    figures = {"test.accuracy": [0.1, 0.2, 0.3], **details}
    reply = {"object": "model.comparison", "versions": versions, "best": {"test.accuracy": 2}, "figures": figures}
    service.routes["GET /v1/registry/compare"] = (200, reply)
    names = ("a-model-with-a-long-name:2", "a-model-with-a-long-name:3", "a-model-with-a-long-name:4")
    monkeypatch.setenv("COLUMNS", "80")
    lines = ostinato("models", "compare", *names).out.splitlines()
    assert max(map(len, lines)) <= 80 and len(lines) < 24
    assert lines[-1] == "not shown: 40 details that differ (use --all)"
    assert [head[-2:] for head in lines[0].split()] == [":2", ":3", ":4"]
    assert len(ostinato("models", "compare", "--all", *names).out.splitlines()) > 40


def test_versions_are_searched_by_the_service(service: Service, ostinato: Run) -> None:
    versions = [VERSION | {"id": f"reviews:{n}"} for n in (2, 3, 4)]
    service.routes["GET /v1/registry/versions"] = [
        (200, {"data": versions[:2], "has_more": True}), (200, {"data": versions[2:], "has_more": False}),
    ]  # fmt: skip
    options = ("--task", "classification", "--architecture", "lstm", "--metric", "test.accuracy", "--minimum", "0.5")
    lines = [line.split() for line in ostinato("models", "search", "rev", *options).out.splitlines()]
    queries = [parse_qs(request.query) for request in service.requests]
    expected = {
        "query": ["rev"], "task": ["classification"], "architecture": ["lstm"], "metric": ["test.accuracy"],
        "minimum": ["0.5"], "limit": ["20"],
    }  # fmt: skip
    assert queries == [expected, expected | {"after": ["reviews:3"]}]
    assert lines[0] == ["VERSION", "TASK", "ARCHITECTURE", "ALIASES", "TEST.ACCURACY", "CREATED"]
    assert [line[:5] for line in lines[1:]] == [
        [f"reviews:{n}", "classification", "lstm", "@champion", "0.75"] for n in (2, 3, 4)
    ]
    service.routes["GET /v1/registry/versions"] = listed()
    assert ostinato("models", "search").out == "no version matches\n"


def test_a_metric_of_few_rows_is_not_compared(service: Service, ostinato: Run) -> None:
    versions = [VERSION | {"version": n, "digest": f"{n}" * 64} for n in (1, 2)]
    figures = {"validation.accuracy": [1.0, 0.75], "validation.rows": [2, 40]}
    reply = {"object": "model.comparison", "versions": versions, "best": {"validation.accuracy": 0}, "figures": figures}
    service.routes["GET /v1/registry/compare"] = (200, reply)
    lines = [line.split() for line in ostinato("models", "compare", "reviews:1", "reviews:2").out.splitlines()]
    assert ["validation.accuracy", "too", "few", "rows", "0.75"] in lines and ["validation.rows", "2", "40"] in lines


def test_a_metric_of_few_rows_is_not_the_best(service: Service, ostinato: Run) -> None:
    figures = {1: {"rows": 2, "accuracy": 1.0}, 2: {"rows": 40, "accuracy": 0.75}}
    versions = [VERSION | {"id": f"reviews:{n}", "metrics": {"validation": part}} for n, part in figures.items()]
    service.routes["GET /v1/registry/versions"] = listed(*versions)
    lines = ostinato("models", "search", "--metric", "validation.accuracy").out.splitlines()[1:]
    assert [line.split()[0] for line in lines] == ["reviews:2", "reviews:1"]
    assert "0.75" in lines[0] and "too few rows" in lines[1]


def test_a_misspelt_metric_is_named(service: Service, ostinato: Run) -> None:
    def search(request: Any) -> tuple[int, Any]:
        return listed(*[VERSION] * ("metric=" not in request.query))

    service.routes["GET /v1/registry/versions"] = search
    done = ostinato("models", "search", "rev", "--metric", "test.acuracy")
    assert done.out == "no version has the metric 'test.acuracy'; did you mean 'test.accuracy'?\n"
    assert "query=rev" in service.requests[-1].query
    assert ostinato("models", "search", "--metric", "test.accuracy", "--minimum", "0.9").out == "no version matches\n"
