"""The `openai` package: models, files, uploads and fine-tuning jobs."""

from __future__ import annotations

from typing import Any

import openai
from calls import CHATS, Calls
from openai_client import TABLE, client, until

calls = Calls("openai")
TRAINING = {"training": {"batch_size": 8, "max_steps": 4, "width": 8, "layers": 1, "eval_every": 2}}
ENDLESS = {"training": {"max_steps": 1_000_000}}
calls.works(
    "models.list", lambda: [m.id for m in client.models.list()], lambda ids: {"departments", *CHATS} <= set(ids)
)
calls.works("models.retrieve", lambda: client.models.retrieve("departments:1"), lambda m: m.id == "departments:1")
file = client.files.create(file=("a.csv", TABLE), purpose="fine-tune")
calls.works("files.create", lambda: file, lambda f: f.bytes == len(TABLE))
calls.works("files.list", lambda: [f.id for f in client.files.list()], lambda ids: file.id in ids)
calls.works("files.content", lambda: client.files.content(file.id).read(), lambda b: b == TABLE)
calls.works(
    "files.retrieve", lambda: client.files.retrieve(file.id), lambda f: (f.id, f.filename) == (file.id, "a.csv")
)


def upload(*parts: bytes) -> tuple[Any, bytes]:
    """Upload a file in parts. Returns the upload, and the content of the uploaded file."""
    begun = client.uploads.create(
        bytes=sum(map(len, parts)), filename="parts.csv", mime_type="text/csv", purpose="fine-tune"
    )
    ids = [client.uploads.parts.create(begun.id, data=part).id for part in parts]
    done = client.uploads.complete(begun.id, part_ids=ids)
    return done, client.files.content(done.file.id).read()


calls.works(
    "uploads.create, parts.create, complete",
    lambda: upload(b"text,la", b"bel\na,b\nc,d\n"),
    lambda pair: (
        pair[0].status == "completed" and pair[0].file.filename == "parts.csv" and pair[1] == b"text,label\na,b\nc,d\n"
    ),
)
calls.works(
    "uploads.cancel",
    lambda: client.uploads.cancel(
        client.uploads.create(bytes=9, filename="a.csv", mime_type="text/csv", purpose="fine-tune").id
    ),
    lambda u: u.status == "cancelled",
)
calls.works(
    "files.wait_for_processing",
    lambda: client.files.wait_for_processing(file.id, poll_interval=0.1, max_wait_seconds=60),
    lambda f: (f.id, f.status) == (file.id, "processed"),
)


def upload_chunked() -> tuple[Any, bytes]:
    """Upload a table in many parts. Returns the upload, and the content of the uploaded file."""
    done = client.uploads.upload_file_chunked(
        file=TABLE, filename="chunks.csv", bytes=len(TABLE), mime_type="text/csv", purpose="fine-tune", part_size=300
    )
    return done, client.files.content(done.file.id).read()


calls.works(
    "uploads.upload_file_chunked",
    upload_chunked,
    lambda pair: pair[0].status == "completed" and pair[0].file.filename == "chunks.csv" and pair[1] == TABLE,
)
jobs = client.fine_tuning.jobs
marks = {"suite": f"openai {openai.__version__}", "file": file.id}
job = jobs.create(model="lstm", training_file=file.id, metadata=marks, extra_body=ENDLESS)
calls.works("fine_tuning.jobs.create", lambda: job, lambda j: j.status in ("validating_files", "queued", "running"))
calls.works("fine_tuning.jobs.retrieve", lambda: jobs.retrieve(job.id), lambda j: (j.id, j.metadata) == (job.id, marks))
calls.works("fine_tuning.jobs.list", lambda: [j.id for j in jobs.list(limit=2)], lambda ids: job.id in ids)
calls.works(
    "fine_tuning.jobs.list, metadata", lambda: [j.id for j in jobs.list(metadata=marks)], lambda ids: ids == [job.id]
)
calls.works(
    "fine_tuning.jobs.list_events",
    lambda: [event.message for event in jobs.list_events(job.id)],
    lambda messages: all(messages) and len(messages) > 0,
)
calls.works(
    "fine_tuning.jobs.pause",
    lambda: (jobs.pause(job.id), until(lambda j: j.status == "paused", lambda: jobs.retrieve(job.id)))[1],
    lambda j: (j.id, j.status) == (job.id, "paused"),
)
calls.works("fine_tuning.jobs.resume", lambda: jobs.resume(job.id), lambda j: (j.id, j.status) == (job.id, "queued"))
calls.works(
    "fine_tuning.jobs.cancel",
    lambda: (jobs.cancel(job.id), until(lambda j: j.status == "cancelled", lambda: jobs.retrieve(job.id)))[1],
    lambda j: (j.id, j.status) == (job.id, "cancelled"),
)
calls.refused("fine_tuning.jobs.retrieve, unknown job", lambda: jobs.retrieve("ftjob-none"), "ftjob-none")
short = jobs.create(model="lstm", training_file=file.id, suffix="short", extra_body=TRAINING)
ended = until(lambda j: j.status in ("succeeded", "failed"), lambda: jobs.retrieve(short.id))
calls.works(
    "fine_tuning.jobs.create, until its model is ready",
    lambda: ended,
    lambda j: j.status == "succeeded" and client.models.retrieve(j.fine_tuned_model).id == j.fine_tuned_model,
)
calls.works(
    "fine_tuning.jobs.checkpoints.list",
    lambda: [(c.step_number, c.fine_tuning_job_id) for c in jobs.checkpoints.list(short.id)],
    lambda actual: actual[0] == (4, short.id),
)
calls.works(
    "models.delete",
    lambda: client.models.delete(ended.fine_tuned_model),
    lambda d: d.deleted and ended.fine_tuned_model not in [m.id for m in client.models.list()],
)
calls.works(
    "files.delete",
    lambda: client.files.delete(file.id),
    lambda d: (d.id, d.deleted) == (file.id, True) and file.id not in [f.id for f in client.files.list()],
)
calls.refused("files.retrieve, deleted file", lambda: client.files.retrieve(file.id), file.id)
UNGRADED = "POST /v1/evaluations measures a model"
GRADER = {"type": "string_check", "name": "same", "input": "a", "reference": "a", "operation": "eq"}
calls.refused_if_any("fine_tuning.alpha.graders.run", client, UNGRADED, grader=GRADER, model_sample="a")
calls.refused_if_any("fine_tuning.alpha.graders.validate", client, UNGRADED, grader=GRADER)
UNSHARED = "checkpoints have no permissions of their own"
PERMISSIONS = "fine_tuning.checkpoints.permissions"
calls.refused_if_any(f"{PERMISSIONS}.create", client, UNSHARED, "ckpt", project_ids=["proj"])
for method in ("list", "retrieve"):
    calls.refused_if_any(f"{PERMISSIONS}.{method}", client, UNSHARED, "ckpt")
calls.refused_if_any(f"{PERMISSIONS}.delete", client, UNSHARED, "perm", fine_tuned_model_checkpoint="ckpt")
calls.report()
