"""`ostinato import` prints a first answer of the new version, for every task."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest

from app.cli import import_probe
from app.cli.import_probe import SHOWN, answer_probe, send_probes, show_probe
from app.client import Client, ServiceError
from app.importing.probe import Probe
from tests.cli.service import Service

PROBE = Probe("Once upon", "the text 'Once upon'")
PROBES = "PUT /v1/registry/models/tales/versions/3/probes"
LOADING = (503, {"error": {"message": "the version is being loaded", "code": "loading"}})


@pytest.fixture
def fake() -> Iterator[Service]:
    with Service() as service:
        yield service


@pytest.fixture
def client(fake: Service) -> Iterator[Client]:
    with Client(fake.url) as client:
        yield client


def test_a_language_model_answers_with_its_most_probable_tokens(fake: Service, client: Client) -> None:
    top = {" a": math.log(0.5), "\n": math.log(0.25)}
    fake.routes["POST /v1/completions"] = (200, {"choices": [{"text": " a", "logprobs": {"top_logprobs": [top]}}]})
    answer = answer_probe(client, "tales:3", "generation", [], PROBE)
    assert answer == {" a": pytest.approx(0.5), "\n": pytest.approx(0.25)}
    [request] = fake.sent("POST /v1/completions")
    assert request.json == {
        "model": "tales:3", "prompt": "Once upon", "max_tokens": 1, "temperature": 0, "logprobs": 5,
    }  # fmt: skip


def test_an_encoder_without_a_head_answers_with_the_first_components(fake: Service, client: Client) -> None:
    vector = [number / 100 for number in range(384)]
    fake.routes["POST /v1/embeddings"] = (200, {"data": [{"index": 0, "embedding": vector}]})
    answer = answer_probe(client, "tales:3", "embedding", [], PROBE)
    assert answer == {f"component {number}": number / 100 for number in range(SHOWN)}
    assert fake.sent("POST /v1/embeddings")[0].json == {"model": "tales:3", "input": "Once upon"}


@pytest.mark.parametrize(
    ("task", "item", "expected"),
    [
        ("classification", {"probs": [0.75, 0.25]}, {"no": 0.75, "yes": 0.25}),
        ("multilabel", {"probs": [0.75, 0.5], "value": None}, {"no": 0.75, "yes": 0.5}),
        ("regression", {"value": 2.5, "probs": []}, {"value": 2.5}),
    ],
)
def test_other_tasks_answer_with_their_outputs(
    fake: Service, client: Client, task: str, item: dict[str, Any], expected: dict[str, float]
) -> None:
    fake.routes["POST /v1/classify"] = (200, {"data": [item]})
    assert answer_probe(client, "tales:3", task, ["no", "yes"], PROBE) == expected
    assert fake.sent("POST /v1/classify")[0].json == {"model": "tales:3", "input": ["Once upon"]}


def test_a_version_that_is_being_loaded_is_asked_again(
    fake: Service, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_probe, "PAUSE", 0.0)
    ready = (200, {"data": [{"index": 0, "embedding": [0.5]}]})
    fake.routes["POST /v1/embeddings"] = [LOADING, LOADING, ready]
    assert answer_probe(client, "tales:3", "embedding", [], PROBE) == {"component 0": 0.5}
    assert len(fake.sent("POST /v1/embeddings")) == 3


@pytest.mark.parametrize(("reply", "patience"), [(LOADING, -1.0), ((400, {"error": {"message": "no"}}), 60.0)])
def test_a_version_that_does_not_answer_is_an_error(
    fake: Service, client: Client, monkeypatch: pytest.MonkeyPatch, reply: Any, patience: float
) -> None:
    monkeypatch.setattr(import_probe, "PATIENCE", patience)
    fake.routes["POST /v1/completions"] = reply
    with pytest.raises(ServiceError):
        answer_probe(client, "tales:3", "generation", [], PROBE)
    assert len(fake.sent("POST /v1/completions")) == 1


def test_tokens_are_printed_most_probable_first_and_readably(capsys: pytest.CaptureFixture[str]) -> None:
    show_probe(PROBE, {" a": 0.5, "\n": 0.25, "b": 0.125, "": 0.0})
    assert capsys.readouterr().out.splitlines() == [
        "your program must give the same result for the text 'Once upon'; otherwise, an answer or assumption is wrong:",
        "  ' a'  0.500000",
        "  '\\n'  0.250000",
        "  b  0.125000",
        "  ''  0.000000",
    ]


@pytest.mark.parametrize("count", [SHOWN, SHOWN + 5])
def test_the_order_of_a_few_outputs_is_kept_and_the_best_of_many_are_printed(
    count: int, capsys: pytest.CaptureFixture[str]
) -> None:
    show_probe(PROBE, {f"label {number}": number / 100 for number in range(count)})
    [_, *lines] = capsys.readouterr().out.splitlines()
    shown = range(count) if count <= SHOWN else reversed(range(count - SHOWN, count))
    assert lines == [f"  label {number}  {number / 100:.6f}" for number in shown]


def test_inputs_are_stored_as_probes_and_a_rejection_is_only_a_warning(
    fake: Service, client: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    send_probes(client, "tales", 3, None)
    assert not fake.requests
    fake.routes[PROBES] = [(200, {"probes": 1}), (400, {"error": {"message": "input[0] is too long"}})]
    for _ in range(2):
        send_probes(client, "tales", 3, ["Once upon"])
    assert [request.json for request in fake.sent(PROBES)] == [{"input": ["Once upon"]}] * 2
    assert capsys.readouterr().err.count("is registered, but the inputs of --probe were not accepted: input[0]") == 1
