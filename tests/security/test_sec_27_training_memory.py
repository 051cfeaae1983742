"""SEC-27: training jobs that need too much memory are rejected, before or after their data is read."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from app.settings import Settings
from app.training.run.preparation import Machine
from app.training.run.session import Session
from app.wire.trainer import TrainFailed
from tests.serving import Api
from tests.training import runs

LONG = "text,label\n" + "".join(f"{'word ' * 60_000}{n},{'ab'[n % 2]}\n" for n in range(20))


@pytest.mark.parametrize("model", ["rnn", "lstm", "gru", "transformer"])
@pytest.mark.parametrize("task", [None, "classification", "generation"])
def test_the_largest_network_is_refused_when_it_is_requested(settings: Settings, model: str, task: str | None) -> None:
    with Api(msgspec.structs.replace(settings, training_memory=64_000)) as api, api.client() as client:
        files = {"file": ("a.csv", b"text,label\na,b\n")}
        file_id = client.post("/v1/files", data={"purpose": "fine-tune"}, files=files).json()["id"]
        body = {"model": model, "training_file": file_id, "training": {"layers": 256, "width": 16_384}}
        reply = client.post("/v1/fine_tuning/jobs", json=body | ({"task": task} if task else {}))
        assert (reply.status_code, reply.json()["error"]["code"]) == (400, "insufficient_memory")
        assert client.get("/v1/fine_tuning/jobs").json()["data"] == []


@pytest.mark.parametrize(
    ("model", "name", "content", "training"),
    [
        ("transformer", "a.csv", runs.table(60), {"layers": 200, "width": 2048}),
        ("lstm", "a.txt", runs.book(60), {"layers": 2, "width": 8192}),
        ("gru", "a.csv", LONG, {"context_length": 2**20, "width": 1024}),
    ],
    ids=["many weights", "wide text", "long rows"],
)
def test_a_network_that_the_data_makes_too_large_is_refused_before_step_0(
    tmp_path: Path, model: str, name: str, content: str, training: dict[str, int]
) -> None:
    run = runs.make(tmp_path, name, content, model, training=training)
    machine = Machine(threads=1, device="cpu", memory=2 * 2**30)
    failed = Session(run, runs.Heard(), lambda: False, machine).attempt()
    assert isinstance(failed, TrainFailed) and failed.code == "insufficient_memory"
    assert failed.step == 0 and not (run / "resume").exists()
