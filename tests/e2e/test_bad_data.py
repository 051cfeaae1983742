"""Invalid files and settings with the real trainer: each job reports the problem and its location."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.service import Service, checked

pytestmark = pytest.mark.e2e
GOOD = "".join(f"a text of number {n},{('yes', 'no')[n % 2]}\n" for n in range(20))
OLD = "sch\xf6n"  # in Latin-1, the ö is not valid UTF-8


def table(label: str) -> bytes:
    return b"".join([b"text,label\n", *(f"text {n},{label}\n".encode() for n in range(20))])


UTF8 = {"training": {"encoding": "utf-8"}}  # else an old file is read as cp1252, with a warning

# file name -> content, further fields of the request, `param` of the error, parts of its message
FAULTS: dict[str, tuple[bytes, dict[str, Any], str, list[str]]] = {
    "wide.csv": (f"text,label\n{GOOD}a,b,c\n".encode(), {}, "training_file", ["line 22", "3 cells", "header has 2"]),
    "open.csv": (f'text,label\n{GOOD}"never closed,yes\n'.encode(), {}, "training_file", ["line 22", "closing quote"]),
    "misspelt.csv": (
        f"text,label\n{GOOD}".encode(), {"columns": {"label": "lable"}}, "columns.label", ["'lable'", "mean 'label'"],
    ),
    "old.csv": (f"text,label\n{GOOD}{OLD},y\n".encode("latin-1"), UTF8, "training_file", ["line 22", "0xf6", "utf-8"]),
    "old.jsonl": (
        f'{{"text": "a", "label": "b"}}\n{{"text": "{OLD}"}}\n'.encode("latin-1"), UTF8, "training_file",
        ["line 2", "0xf6", "utf-8"],
    ),
    "old.txt": (f"A tale.\nIt was {OLD}.\n".encode("latin-1"), UTF8, "training_file", ["line 2", "0xf6", "utf-8"]),
    "one_class.csv": (table("same"), {}, "training_file", ["'same'", "at least two labels"]),
    "no_label.csv": (table(""), {"task": "multilabel"}, "training_file", ["label"]),
}  # fmt: skip


@pytest.fixture(scope="module")
def ended(service: Service, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The jobs for all faulty files and for a valid multilabel file with a single label, after they have ended."""
    folder = tmp_path_factory.mktemp("faults")
    jobs = {}
    for name, (content, fields, _, _) in FAULTS.items():
        (folder / name).write_bytes(content)
        jobs[name] = service.train(model="gru", training_file=service.upload(folder / name), **fields)["id"]
    (folder / "good.csv").write_text(
        "text,label\n" + "".join(f"text {n},{'only' if n % 2 else ''}\n" for n in range(20))
    )
    good = {"task": "multilabel", "suffix": "one-label", "training": {"max_steps": 2, "width": 16}}
    jobs["good.csv"] = service.train(model="gru", training_file=service.upload(folder / "good.csv"), **good)["id"]
    return {name: service.finish(id_, 900) for name, id_ in jobs.items()}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_in_a_file_is_reported_with_its_place(service: Service, ended: dict[str, Any], name: str) -> None:
    job, (_, _, param, parts) = ended[name], FAULTS[name]
    assert (job["status"], job["error"]["code"]) == ("failed", "invalid_training_file")
    assert job["error"]["param"] == param
    assert name in job["error"]["message"]
    assert [part for part in parts if part not in job["error"]["message"]] == [], job["error"]["message"]
    assert (job["fine_tuned_model"], job["trained_tokens"]) == (None, None)
    events = service.events(job["id"])
    messages = [event["message"] for event in events]
    assert "Validating the training file" in messages and "Files validated, training started" not in messages
    assert events[-1]["level"] == "error" and job["error"]["message"] in events[-1]["message"]


def test_faults_stop_no_program_and_delete_no_file(service: Service, ended: dict[str, Any]) -> None:
    assert (ended["good.csv"]["status"], ended["good.csv"]["error"]) == ("succeeded", None)
    listed = {file["id"] for file in checked(service.client.get("/v1/files"))["data"]}
    assert {job["training_file"] for job in ended.values()} <= listed
    assert service.ready()
    assert service.classify("one-label", "text 1")["data"][0]["labels"] in ([], ["only"])
    assert {program["program"]: program["restarts"] for program in service.programs()}["worker"] == 0


def test_an_impossible_learning_rate_is_refused_at_once(service: Service, reviews: Path) -> None:
    body = {"model": "lstm", "training_file": service.upload(reviews), "training": {"learning_rate": 1e6}}
    reply = service.client.post("/v1/fine_tuning/jobs", json=body)
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "training.learning_rate")


def test_a_training_that_diverges_fails_and_keeps_its_best_checkpoint(service: Service, reviews: Path) -> None:
    training = {"width": 16, "layers": 1, "max_steps": 400, "eval_every": 2, "warmup_ratio": 0.5, "batch_size": 16}
    training |= {"learning_rate": 100, "optimizer": "sgd", "max_grad_norm": 1e9}
    created = service.train(model="transformer", training_file=service.upload(reviews), training=training, seed=1)
    job = service.finish(created["id"], 900)
    assert (job["status"], job["error"]["code"]) == ("failed", "diverged"), job["error"]
    assert job["error"]["param"] == "training.learning_rate"
    checkpoints = checked(service.client.get(f"/v1/fine_tuning/jobs/{job['id']}/checkpoints"))["data"]
    assert checkpoints
    reply = service.classify(checkpoints[0]["fine_tuned_model_checkpoint"], "a lovely day")
    assert reply["data"][0]["label"] in ("good", "bad")
