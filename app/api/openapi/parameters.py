"""What the document shows for parameters: examples that work with the demo's models, and what each name means.

Knows names and examples; knows no route. A page such as Swagger's fills in and sends every `example`, so only what must
be sent has one; what may be sent shows its own beside its schema. A route may say either by itself.
"""

from __future__ import annotations

from typing import Any

MODEL, OTHER = "demo-sentiment-lstm", "demo-sentiment-rnn"
FILE_ID = "file-5f2c9a7be1d04c3386f0a1b2"
JOB_ID = "ftjob-2c61d4a09b7f4e5a8d3c1b0f"
UPLOAD_ID = "upload-8f1f0a2b3c4d5e6f7a8b9c0d"
PART_IDS = ("part-1b2c3d4e5f60718293a4b5c6", "part-3d4e5f60718293a4b5c6d7e8")

REQUIRED: dict[str, tuple[Any, str]] = {
    "name": (MODEL, "A model's name; `GET /v1/registry/models` lists them"),
    "model": (f"{MODEL}:1", "A model reference; `GET /v1/models` lists them"),
    "version": (1, "A version's number; `GET /v1/registry/models/{name}/versions` lists them"),
    "alias": ("champion", "An alias of the model; `PUT` makes it"),
    "path": ("metrics.json", "A path of the version's `files`"),
    "file_id": (FILE_ID, "An id from `GET /v1/files`; `POST /v1/files` gives a new one"),
    "job_id": (JOB_ID, "An id from `GET /v1/fine_tuning/jobs`; `POST /v1/fine_tuning/jobs` gives a new one"),
    "upload_id": (UPLOAD_ID, "The id that `POST /v1/uploads` gave"),
    "versions": (f"{MODEL}:1,{OTHER}:1", "Model references, with commas"),
}
OPTIONAL: dict[str, tuple[Any, str]] = {
    "limit": (20, "How many at most"),
    "order": ("asc", "asc or desc"),
    "purpose": ("fine-tune", "Only files of this purpose"),
    "search": ("sentiment", "A part of the names"),
    "query": ("sentiment", "A part of the models' names"),
    "model": (MODEL, "Only versions of the model of this name"),
    "task": ("classification", "classification, multilabel, regression or generation"),
    "architecture": ("lstm", "rnn, lstm, gru or transformer"),
    "status": ("ready", "pending, ready, failed or deleted"),
    "alias": ("champion", "Only versions that an alias of this name points at"),
    "job_id": (JOB_ID, "Only the version that this training made; an id from `GET /v1/fine_tuning/jobs`"),
    "metric": ("test.accuracy", "Only versions that have this figure, by its path in `metrics`"),
    "minimum": (0.5, "The least that the figure may be"),
    "maximum": (1.0, "The most that the figure may be"),
    "expected_version": (1, "The version that the alias must point at now"),
    "idempotency-key": ("reviews-of-may", "Any word of yours; sent again, it gives what the first request made"),
}


def illustrate(operation: dict[str, Any]) -> None:
    """Give each parameter of an operation an example and a description, where there is one of its name."""
    for parameter in operation.get("parameters", ()):
        name, required = parameter["name"], parameter["required"]
        said = _next_page(operation) if name == "after" else (REQUIRED if required else OPTIONAL).get(name)
        if said is None:
            continue
        example, meaning = said
        if required:
            parameter.setdefault("example", example)
        else:
            parameter["schema"].setdefault("examples", [example])
        parameter.setdefault("description", meaning)


def _next_page(operation: dict[str, Any]) -> tuple[Any, str]:
    """`after`, fit for the page that the reply's example shows."""
    page = operation["responses"]["200"]["content"]["application/json"]["example"]
    return page["data"][-1]["id"], "The last id of the page before"
