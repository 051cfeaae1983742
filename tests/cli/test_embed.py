"""`ostinato embed`: the requests and the printed lines."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cli.conftest import Run
from tests.cli.service import Service


def embedded(request: Any) -> tuple[int, Any]:
    data = [{"index": i, "embedding": [float(len(text)), 0.5]} for i, text in enumerate(request.json["input"])]
    return 200, {"object": "list", "model": "m", "data": data}


@pytest.fixture
def reading(service: Service) -> Service:
    service.routes["POST /v1/embeddings"] = embedded
    return service


def test_each_text_gets_a_line_with_its_vector(reading: Service, ostinato: Run) -> None:
    done = ostinato("embed", "--model", "m", "--dimensions", "2", "--truncate", "a day", "", "--", "-night")
    assert [json.loads(line) for line in done.out.splitlines()] == [
        {"text": "a day", "embedding": [5.0, 0.5]},
        {"text": None, "embedding": None},
        {"text": "-night", "embedding": [6.0, 0.5]},
    ]
    sent = {"model": "m", "dimensions": 2, "truncate_prompt_tokens": -1, "input": ["a day", "-night"]}
    assert [request.json for request in reading.sent("POST /v1/embeddings")] == [sent]


def test_errors_name_the_text_and_the_route(reading: Service, ostinato: Run) -> None:
    error = {"message": "input[1] has too many tokens", "code": "context_length_exceeded", "param": "input"}
    reading.routes["POST /v1/embeddings"] = lambda _: (400, {"error": error})
    done = ostinato("embed", "-m", "m", "a", "", "b")
    assert done.status == 1 and "text 3 has too many tokens" in done.err
    reading.routes["GET /v1/models/m"] = lambda _: (200, {"id": "m", "input": "features"})
    done = ostinato("embed", "-m", "m", "a")
    assert done.status == 1 and "send the numbers to POST /v1/embeddings" in done.err
    assert "there is no text to embed" in ostinato("embed", "-m", "n", "").err
