"""Descriptions and examples of parameters, by name, for the OpenAPI document. The examples work with the demo's models.

Swagger UI fills in and sends every `example` of a parameter, so only required parameters have one. Optional parameters
have `examples` in their schema, which Swagger UI shows but does not send.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query

from app.api.openapi.schemas import Schema
from app.files.service import PURPOSES
from app.wording import listed
from models.choices import ARCHITECTURES, TASKS

MODEL, OTHER = "demo-sentiment-lstm", "demo-sentiment-rnn"
OWN_MODEL = "reviews"  # the model that examples delete, because other examples need the demo's models
FILE_ID = "file-5f2c9a7be1d04c3386f0a1b2"
JOB_ID = "ftjob-2c61d4a09b7f4e5a8d3c1b0f"
EVALUATION_ID = "evaljob-6d1b3f5a7c9e0d2b4f6a8c1e"
BATCH_ID = "batch-3f5a7c9e0d2b4f6a8c1e6d1b"
EVALUATION_EVENT: dict[str, Any] = {
    "id": "ftevent-91c2d3e4f5061728394a5b6c",
    "object": "fine_tuning.job.event",
    "created_at": 1745383070,
    "level": "info",
    "message": "Evaluating on the file",
    "type": "message",
    "data": {},
}
ENDPOINT_ID = "whe-3a5c7e9f1b2d4f6a8c0e2d4b"
UPLOAD_ID = "upload-8f1f0a2b3c4d5e6f7a8b9c0d"
MOST_COMPARED = 50
PURPOSE = f"^({'|'.join(PURPOSES)})$"
PART_IDS = ("part-1b2c3d4e5f60718293a4b5c6", "part-3d4e5f60718293a4b5c6d7e8")

Order = Annotated[str | None, Query(description="asc or desc")]

REQUIRED: dict[str, tuple[Any, str]] = {
    "name": (MODEL, "The name of a model; `GET /v1/registry/models` lists all names"),
    "model": (f"{MODEL}:1", "A model reference; `GET /v1/models` lists all references"),
    "task": ("text-classification", "The name of the task, as in Hugging Face"),
    "version": (1, "The number of a version; `GET /v1/registry/models/{name}/versions` lists all numbers"),
    "alias": ("champion", "An alias of the model; `PUT` creates it"),
    "path": ("metrics.json", "One of the version's `files`"),
    "file_id": (FILE_ID, "The id of a file, from `GET /v1/files` or `POST /v1/files`"),
    "job_id": (JOB_ID, "The id of a job, from `GET /v1/fine_tuning/jobs` or `POST /v1/fine_tuning/jobs`"),
    "evaluation_id": (EVALUATION_ID, "The id of an evaluation, from `GET /v1/evaluations` or `POST /v1/evaluations`"),
    "batch_id": (BATCH_ID, "The id of a batch, from `GET /v1/batches` or `POST /v1/batches`"),
    "upload_id": (UPLOAD_ID, "The id of an upload, from `POST /v1/uploads`"),
    "webhook_endpoint_id": (
        ENDPOINT_ID,
        "The id of a webhook endpoint, from `GET /v1/webhook_endpoints` or `POST /v1/webhook_endpoints`",
    ),
    "versions": (f"{MODEL}:1,{OTHER}:1", "Model references, separated by commas"),
}
DELETED: dict[str, tuple[Any, str]] = {  # for the routes that delete something
    "name": (OWN_MODEL, "The name of one of your models"),
    "model": (f"{OWN_MODEL}:1", "A version of one of your models, as name:number"),
}
OPTIONAL: dict[str, tuple[Any, str]] = {
    "limit": (20, "The maximum number of items to return"),
    "order": ("asc", "asc or desc"),
    "purpose": ("fine-tune", "Returns only files with this purpose"),
    "search": ("sentiment", "A part of the model's name"),
    "query": ("sentiment", "A part of the model's name"),
    "model": (MODEL, "Returns only versions of this model"),
    "task": ("classification", f"Returns only results with this task: {listed(TASKS)}"),
    "architecture": ("lstm", f"Returns only results with this architecture: {listed(ARCHITECTURES)}"),
    "status": ("ready", "Returns only versions with this status: pending, ready, failed or deleted"),
    "alias": ("champion", "Returns only versions that this alias points to"),
    "job_id": (JOB_ID, "Returns only the version that this job produced; use an id from `GET /v1/fine_tuning/jobs`"),
    "metric": ("test.accuracy", "Returns only versions with this metric, a path in `metrics`"),
    "minimum": (0.5, "The lowest value of the metric"),
    "maximum": (1.0, "The highest value of the metric"),
    "expected_version": (1, "The version that the alias must currently point to"),
    "next_page_token": (MODEL, "`nextPageToken` of the previous page"),
    "all_owners": (True, "Whether to include the endpoints of other API keys"),
    "trials": (True, "Whether to include the trials of `auto` jobs"),
    "stream": (
        False,
        "Whether to stream the events as they occur instead of returning a page or, for a dry run, a single object",
    ),
    "points": (
        500,
        "Only for streams: at most this many past metrics events of each kind are sent, evenly spaced over the log",
    ),
    "dry_run": (True, "Whether to return an estimate for the job instead of creating it"),
    "idempotency-key": (
        "reviews-of-may",
        "A key of your choice; another request with the same key returns the job of the first request",
    ),
}

# Bounds that the registry and other packages check. They are only documented here; FastAPI does not check them.
REFERENCE = (
    r"(ftckpt-[A-Za-z0-9_-]{1,33}|(?!ftckpt-)[a-z0-9][a-z0-9._-]{0,63}"
    r"(:[1-9][0-9]{0,8}|@(?!ftckpt-)[a-z0-9][a-z0-9._-]{0,63}|@sha256:[0-9a-f]{64})?)"
)
A_NAME = {"pattern": "^(?!ftckpt-)[a-z0-9][a-z0-9._-]{0,63}$"}
HUB_TASKS = ["text-classification", "text-generation", "feature-extraction", "sentence-similarity"]
OF_MODEL = (  # operations whose `name` may be any model reference
    "create_chat_completion_of_model", "predict", "put_prediction", "infer", "model_metadata", "model_ready",
    "model_config", "model_statistics", "load_model", "unload_model", "triton_generate", "triton_generate_stream",
)  # fmt: skip
OF_VERSION = (  # operations whose path contains `version` as a string
    "infer_with_version", "version_metadata", "version_ready", "version_config", "version_statistics",
    "triton_generate_with_version", "triton_generate_stream_with_version",
)  # fmt: skip
A_NUMBER = {"pattern": r"^[1-9][0-9]{0,8}(\.0)?$"}
A_PART = {"pattern": "^[A-Za-z0-9._-]{0,64}$"}
BOUNDS: dict[str, Schema] = {
    "limit": {"minimum": 1, "maximum": 1000},
    "order": {"enum": ["asc", "desc"]},
    "name": A_NAME,
    "alias": A_NAME,
    "version": {"minimum": 1, "maximum": 10**9 - 1},
    "versions": {"pattern": f"^,*{REFERENCE}(,+{REFERENCE}){{0,{MOST_COMPARED - 1}}},*$"},
    "metric": {"pattern": r"^[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*$"},
    "idempotency-key": {"minLength": 1, "maxLength": 255},
    **dict.fromkeys(("query", "task", "architecture", "status", "job_id"), A_PART),
}
OWN_BOUNDS: dict[tuple[str, str], Schema] = {  # bounds of a single operation: (operation id, parameter)
    ("list_files", "limit"): {"minimum": 1, "maximum": 10_000},
    ("delete_model", "model"): {"pattern": "^(?!ftckpt-)[a-z0-9][a-z0-9._-]{0,63}:[1-9][0-9]{0,8}$"},
    ("list_registry_models", "task"): {},
    ("list_registry_models", "architecture"): {},
    ("list_models", "limit"): {"minimum": 1, "maximum": 10_000},
    ("list_model_versions", "status"): {"enum": ["pending", "ready", "failed", "deleted"]},
    ("list_model_versions", "after"): {"pattern": "^([^\\n]*:)?[0-9]{1,9}$"},
    ("search_versions", "model"): A_PART,
    ("search_versions", "alias"): A_PART,
    **dict.fromkeys(
        ((name, "version") for name in ("predict_with_version", "put_version_prediction", "describe_model_version")),
        A_NUMBER,
    ),
    ("set_default_version", "version"): A_NUMBER,
    **{(name, "name"): {"pattern": f"^{REFERENCE}$"} for name in ("hub_model", "hub_pipeline", *OF_MODEL)},
    **{(name, "version"): {"pattern": "^[1-9][0-9]{0,8}$"} for name in OF_VERSION},
    **{(name, "task"): {"enum": HUB_TASKS} for name in ("hub_model", "hub_pipeline")},
}


def illustrate(operation: dict[str, Any]) -> None:
    """Add bounds, and missing examples and descriptions, to the parameters of an operation."""
    for parameter in operation.get("parameters", ()):
        name, required = parameter["name"], parameter["required"]
        _bound(parameter, operation["operationId"])
        entry = _next_page(operation) if name == "after" else (REQUIRED if required else OPTIONAL).get(name)
        if required and operation["operationId"].startswith("delete_"):
            entry = DELETED.get(name, entry)
        if entry is None:
            continue
        example, meaning = entry
        if required:
            parameter.setdefault("example", example)
        else:
            parameter["schema"].setdefault("examples", [example])
        parameter.setdefault("description", meaning)


def _bound(parameter: dict[str, Any], operation: str) -> None:
    """Add the bounds of a parameter to its schema. Null is removed, because a query string cannot contain it."""
    schema, name = parameter["schema"], parameter["name"]
    alternatives = [branch for branch in schema.pop("anyOf", []) if branch != {"type": "null"}]
    for branch in alternatives:
        schema |= branch
    keywords = OWN_BOUNDS.get((operation, name))
    if keywords is None and not (parameter["in"] == "path" and name.endswith("_id")):
        keywords = BOUNDS.get(name)
    schema |= keywords or {}


def _next_page(operation: dict[str, Any]) -> tuple[Any, str]:
    """Return an example and a description of `after`. The example is the id of the last item in the example reply."""
    page = operation["responses"]["200"]["content"]["application/json"]["example"]
    return page["data"][-1]["id"], "The id of the last item on the previous page"
