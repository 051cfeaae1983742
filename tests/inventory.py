"""An inventory of a running service, read over HTTP: all stored objects and the answers of its models.

`python -m tests.inventory URL` prints it as JSON. It is recorded for one release, and compared with later releases.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from typing import Any

import httpx

ENDED = ("succeeded", "failed", "cancelled")
TEXTS = ["a lovely wonderful day", "an awful gloomy film", "the kind people felt it"]
PROMPTS = ["the clock struck two", "the mouse"]  # on any processor, one next token is clearly the most likely
VERSION = ("id", "status", "task", "architecture", "digest", "parameters", "metrics", "job_id", "created_at", "files")
FILE = ("filename", "purpose", "bytes", "status", "created_at")
JOB = (
    *("status", "model", "training_file", "validation_file", "seed", "suffix", "publish", "training", "metadata"),
    *("fine_tuned_model", "result_files", "trained_tokens", "error", "attempt", "created_at", "finished_at"),
)
EVENT = ("level", "message", "created_at")
MOVE = ("from_version", "to_version", "principal", "created_at")


def inventory(client: httpx.Client) -> dict[str, Any]:
    """Models, files and ended jobs, keyed by name or id, so that later additions do not disturb a comparison."""
    models = {model["name"]: model["aliases"] for model in _pages(client, "/v1/registry/models")}
    jobs = {job["id"]: job for job in _pages(client, "/v1/fine_tuning/jobs") if job["status"] in ENDED}
    files = {file["id"]: file for file in _pages(client, "/v1/files")}
    return {
        "models": {name: _model(client, name, aliases) for name, aliases in sorted(models.items())},
        "files": {id_: _file(client, file) for id_, file in sorted(files.items())},
        "jobs": {id_: _job(client, job) for id_, job in sorted(jobs.items())},
    }


def _model(client: httpx.Client, name: str, aliases: dict[str, int]) -> dict[str, Any]:
    root = f"/v1/registry/models/{name}"
    versions = {str(version["version"]): version for version in _pages(client, f"{root}/versions")}
    return {
        "aliases": aliases,
        "moved": {a: [_only(MOVE, m) for m in _pages(client, f"{root}/aliases/{a}/history")] for a in aliases},
        "versions": {
            number: _only(VERSION, version) | {"answers": _answers(client, version["id"], version["task"])}
            for number, version in versions.items()
        },
    }


def _answers(client: httpx.Client, model: str, task: str) -> dict[str, Any]:
    vectors = _post(client, "/v1/embeddings", model=model, input=TEXTS[:1])["data"]
    answers: dict[str, Any] = {"embedding": vectors[0]["embedding"]}
    if task == "classification":
        scored = _post(client, "/v1/classify", model=model, input=TEXTS)["data"]
        return answers | {"labels": [s["label"] for s in scored], "scores": [s["probs"] for s in scored]}
    options = {"model": model, "max_tokens": 20, "temperature": 0}
    texts = [_post(client, "/v1/completions", prompt=prompt, **options)["choices"][0]["text"] for prompt in PROMPTS]
    return answers | {"texts": texts}


def _file(client: httpx.Client, file: dict[str, Any]) -> dict[str, Any]:
    content = client.get(f"/v1/files/{file['id']}/content").content
    return _only(FILE, file) | {"sha256": hashlib.sha256(content).hexdigest()}


def _job(client: httpx.Client, job: dict[str, Any]) -> dict[str, Any]:
    path = f"/v1/fine_tuning/jobs/{job['id']}"
    events = list(_pages(client, f"{path}/events"))[::-1]
    figures = [event["message"] for event in events if event["type"] == "metrics"]
    return _only(JOB, job) | {
        "events": {event["id"]: _only(EVENT, event) for event in events if event["type"] == "message"},
        "metrics": {"count": len(figures), "last": figures[-1:]},
        "checkpoints": {c["id"]: c["step_number"] for c in _pages(client, f"{path}/checkpoints")},
    }


def _pages(client: httpx.Client, path: str) -> Iterator[dict[str, Any]]:
    params: dict[str, Any] = {"limit": 100}
    while True:
        page = _get(client, path, **params)
        yield from page["data"]
        if not page.get("has_more"):
            return
        params["after"] = page["data"][-1]["id"]


def _only(names: tuple[str, ...], fields: dict[str, Any]) -> dict[str, Any]:
    return {name: fields[name] for name in names}


def _get(client: httpx.Client, path: str, **params: Any) -> dict[str, Any]:
    return _checked(client.get(path, params=params))


def _post(client: httpx.Client, path: str, **body: Any) -> dict[str, Any]:
    return _checked(client.post(path, json=body))


def _checked(reply: httpx.Response) -> dict[str, Any]:
    assert reply.is_success, f"{reply.request.method} {reply.request.url}: {reply.status_code} {reply.text[:2000]}"
    body: dict[str, Any] = reply.json()
    return body


if __name__ == "__main__":
    with httpx.Client(base_url=sys.argv[1], timeout=120) as client:
        print(json.dumps(inventory(client), indent=1, ensure_ascii=False))
