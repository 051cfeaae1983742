"""Jobs with a training curve, for the tests of the console."""

from __future__ import annotations

from app.jobs.claims import JobClaims
from app.jobs.records import TRAINING_LANE, NewEvent
from tests.serving import Api

TABLE = b"text,label\na,b\n"


def claimed_job(api: Api, key: str = "", table: bytes = TABLE) -> str:
    """Create a training job that a worker has claimed."""
    with api.client(key) as client:
        file = client.post("/v1/files", files={"file": ("a.csv", table)}, data={"purpose": "fine-tune"})
        body = {"model": "lstm", "training_file": file.json()["id"], "suffix": "mood"}
        id_: str = client.post("/v1/fine_tuning/jobs", json=body).json()["id"]
    database = api.services.database
    with database.transaction() as session:
        JobClaims(database).claim(session, "worker", 600.0, 3, TRAINING_LANE)
    return id_


def write_step(api: Api, job: str, step: int, loss: float) -> None:
    """Log the metrics of a step."""
    data = {"step": step, "total_steps": 100, "train_loss": loss, "valid_loss": loss + 0.1}
    log(api, job, NewEvent(kind="metrics", step=step, type="metrics", message=f"Step {step}", data=data))


def log(api: Api, job: str, *events: NewEvent) -> None:
    """Log events of a job."""
    with api.services.database.transaction() as session:
        JobClaims(api.services.database).log(session, job, events)
