"""OpenAI's client with batches, a real engine and the real batch program, which is killed during a batch."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from app.worker.resources import Resources
from app.worker.worker import BATCHES
from tests.api.clients import sdk
from tests.api.real import Real
from tests.jobs.fixtures import ROOT, until
from tests.worker.running import working

REQUESTS = 40


@pytest.fixture
def client(real: Real) -> Iterator[openai.OpenAI]:
    with sdk(real.api) as made:
        yield made


@pytest.fixture
def worker(real: Real) -> Iterator[Resources]:
    """A worker's lane for batches, in this process."""
    settings = real.api.settings
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OSTINATO_")}
    env = kept | {"OSTINATO_DATA_DIR": str(settings.data.resolve()), "PYTHONPATH": str(ROOT)}
    resources = Resources.of(settings, env)
    with working(resources, BATCHES):
        yield resources
    resources.database.close()


def run_batch(client: openai.OpenAI, endpoint: Any, bodies: list[Any]) -> Any:
    lines = [
        json.dumps({"custom_id": f"r{number}", "method": "POST", "url": endpoint, "body": body})
        for number, body in enumerate(bodies)
    ]
    file = client.files.create(file=("requests.jsonl", "\n".join(lines).encode()), purpose="batch")
    return client.batches.create(input_file_id=file.id, endpoint=endpoint, completion_window="24h")


def finished(client: openai.OpenAI, batch: Any) -> Any:
    def ended() -> Any:
        current = client.batches.retrieve(batch.id)
        return current if current.status not in ("validating", "in_progress", "finalizing", "cancelling") else None

    return until(ended, 300)


def lines_of(client: openai.OpenAI, file_id: str | None) -> list[Any]:
    return [json.loads(line) for line in client.files.content(str(file_id)).text.splitlines()] if file_id else []


def test_a_batch_whose_program_is_killed_answers_every_request_once(
    real: Real, client: openai.OpenAI, worker: Resources
) -> None:
    real.serve("talk")
    texts = [f"text {number}" for number in range(REQUESTS)]
    bodies: list[Any] = [{"model": "talk", "input": text, "encoding_format": "float"} for text in texts]
    bodies[7] = {"model": "talk", "inpt": "x"}
    batch = run_batch(client, "/v1/embeddings", bodies)
    answers = worker.runs / batch.id / "answers"
    until(lambda: answers.exists() and answers.stat().st_size)
    entry = until(lambda: list(worker.trainers.folder.glob(f"{batch.id}.json")))[0]
    os.kill(json.loads(entry.read_bytes())["pid"], signal.SIGKILL)
    done = finished(client, batch)
    assert done.status == "completed", done
    assert done.request_counts.to_dict() == {"total": REQUESTS, "completed": REQUESTS - 1, "failed": 1}
    output, [error] = lines_of(client, done.output_file_id), lines_of(client, done.error_file_id)
    assert [line["custom_id"] for line in output] == [f"r{n}" for n in range(REQUESTS) if n != 7]
    assert error["response"]["body"]["error"]["code"] == "unknown_field"
    direct = client.embeddings.create(model="talk", input=texts, encoding_format="float").data
    for line in output:
        number = int(line["custom_id"][1:])
        [vector] = line["response"]["body"]["data"]
        assert vector["embedding"] == pytest.approx(direct[number].embedding, abs=1e-4)


def test_completions_are_answered(real: Real, client: openai.OpenAI, worker: Resources) -> None:
    real.serve("talk")
    body = {"model": "talk", "prompt": "Once", "max_tokens": 8, "temperature": 0}
    done = finished(client, run_batch(client, "/v1/completions", [body] * 3))
    direct = client.completions.create(**body)  # type: ignore[call-overload]
    texts = [line["response"]["body"]["choices"][0]["text"] for line in lines_of(client, done.output_file_id)]
    assert texts == [direct.choices[0].text] * 3
