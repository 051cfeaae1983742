"""Sends the examples of the OpenAPI document to a service with the models of the demo and the guides."""

from __future__ import annotations

import io
import json
import re
import tarfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import httpx

from app.demo.trainings import TRAININGS
from app.settings import Settings
from app.tokenization.chat import TEMPLATE
from tests.checkpoints import make_checkpoint, publish
from tests.serving import LABELS, Shelf, application_of, byte_tokenizer

MOOD, TALE = "demo-sentiment-lstm", "demo-text-lstm"
METRICS = {"test": {"accuracy": 0.9}}
CONVERSATIONS = (
    "/v1/chat/completions",
    "/v1/responses",
    "/api/chat",
    "/models/{name}/v1/chat/completions",
)  # their examples need a version that no demo trains
UNNAMED = {  # routes whose path and body do not name a model -> the model of their examples
    **dict.fromkeys(("/predict", "/embed", "/similarity", "/info"), MOOD),
    **dict.fromkeys(("/generate", "/generate_stream"), TALE),
}
AN_ID = re.compile(r"(file|ftjob|evaljob|batch|ftevent|ftckpt|upload|part|whe)-[0-9a-f]{24}")


@cache
def document() -> dict[str, Any]:
    return application_of(Settings()).openapi()


OPERATIONS = [
    (method, path, operation["operationId"])
    for path, operations in document()["paths"].items()
    for method, operation in operations.items()
]


class Reader:
    """A user who sends the examples to a service with the models of the demo and the guides."""

    def __init__(self, client: httpx.Client, shelf: Shelf, scratch: Path) -> None:
        self.client, self.shelf, self.scratch = client, shelf, scratch
        for name, *_ in TRAININGS:
            if name.startswith("demo-sentiment"):
                self.register_trained(name)
            else:
                shelf.generator(name)
        self.register_trained("reviews")  # for the examples that delete a model
        shelf.generator("talk", chat_template=TEMPLATE, context_length=128)
        shelf.classifier("pairs")
        shelf.classifier("tickets", task="multilabel")
        shelf.classifier("waves", input="features", features=2, vocab_size=None)

    def register_trained(self, name: str) -> None:
        """Register a version with metrics, as training does."""
        directory = self.scratch / name
        make_checkpoint(directory, labels=LABELS, vocab_size=byte_tokenizer().vocab_size, context_length=64)
        byte_tokenizer().save(directory)
        (directory / "metrics.json").write_text(json.dumps(METRICS))
        publish(self.shelf.registry, directory, name, "local", metrics=METRICS)

    def file(self, purpose: str = "fine-tune") -> str:
        content = {"file": ("reviews.csv", b"text,label\nI love this,positive\n")}
        return str(self.post("/v1/files", data={"purpose": purpose}, files=content)["id"])

    def job(self) -> str:
        return str(self.post("/v1/fine_tuning/jobs", json={"model": "lstm", "training_file": self.file()})["id"])

    def evaluation(self) -> str:
        return str(self.post("/v1/evaluations", json={"model": MOOD, "file": self.file()})["id"])

    def batch(self) -> str:
        body = {"input_file_id": self.file("batch"), "endpoint": "/v1/embeddings", "completion_window": "24h"}
        return str(self.post("/v1/batches", json=body)["id"])

    def upload(self, *parts: bytes) -> tuple[str, list[str]]:
        body = {"bytes": sum(map(len, parts)) or 9, "filename": "reviews.csv", "purpose": "fine-tune"}
        upload = str(self.post("/v1/uploads", json=body)["id"])
        return upload, [str(self.post(f"/v1/uploads/{upload}/parts", files={"data": part})["id"]) for part in parts]

    def endpoint(self) -> str:
        """A webhook endpoint, whose URL is a route of this service."""
        body = {"name": "mine", "url": str(self.client.base_url.join("/ping")), "event_types": ["batch.completed"]}
        return str(self.post("/v1/webhook_endpoints", json=body)["id"])

    def post(self, path: str, **content: Any) -> dict[str, Any]:
        body: dict[str, Any] = self.client.post(path, **content).raise_for_status().json()
        return body

    def target(self, path: str, operation: dict[str, Any], body: Any) -> tuple[str, dict[str, Any], Any]:
        """The path, query and body of the example, with the ids of objects that are created for it in place of
        generated ids.
        """
        parameters = {p["name"]: p["example"] for p in operation.get("parameters", ()) if p["required"]}
        if "{alias}" in path:
            self.shelf.registry.set_alias(parameters["name"], parameters["alias"], 1, "local")
        if "file_id" in parameters:
            parameters["file_id"] = self.file()
        if "job_id" in parameters:
            parameters["job_id"] = self.job()
            if path.endswith("/resume"):
                self.post(f"/v1/fine_tuning/jobs/{parameters['job_id']}/pause")
        if "evaluation_id" in parameters:
            parameters["evaluation_id"] = self.evaluation()
            if path.endswith("/resume"):
                self.post(f"/v1/evaluations/{parameters['evaluation_id']}/pause")
        if "batch_id" in parameters:
            parameters["batch_id"] = self.batch()
        if "webhook_endpoint_id" in parameters:
            parameters["webhook_endpoint_id"] = self.endpoint()
        if "upload_id" in parameters:
            parts = body["part_ids"] if body else []
            parameters["upload_id"], part_ids = self.upload(*[b"text,label\n"] * len(parts))
            body = {**body, "part_ids": part_ids} if body else body
        if body and "training_file" in body:
            body = {**body, "training_file": self.file()}
        if body and "input_file_id" in body:
            body = {**body, "input_file_id": self.file("batch")}
        if body and "file" in body:
            body = {**body, "file": self.file()}
        if path in CONVERSATIONS:
            body = {**body, "model": "talk"}
        if path.startswith("/models/{name}/v1"):
            parameters["name"] = "talk"
        if "/generate" in path and "name" in parameters:
            parameters["name"] = TALE
        query = {"model": UNNAMED[path]} if path in UNNAMED else {}
        query |= {name: value for name, value in parameters.items() if f"{{{name}}}" not in path}
        return path.format(**parameters), query, body

    def optional(self, target: str, operation: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """The optional parameters of a query, one at a time, with generated ids replaced as in `target`."""
        parameters = [p for p in operation.get("parameters", ()) if p["in"] == "query" and not p["required"]]
        values = {p["name"]: p["schema"]["examples"][0] for p in parameters}
        for name, value in values.items():
            if name == "job_id":
                value = self.job()
            if name == "after" and (isinstance(value, int) or AN_ID.fullmatch(value)):
                page = self.client.get(target, params={"limit": 1}).raise_for_status().json()["data"]
                if not page:
                    continue
                value = page[0]["id"]
            yield {name: value} | ({"metric": values["metric"]} if name in ("minimum", "maximum") else {})

    def form(self, example: dict[str, str]) -> dict[str, Any]:
        """The form that an example describes. The example shows a file as text, or describes it in parentheses."""
        content: dict[str, Any] = {"data": {}, "files": {}}
        for field, value in example.items():
            if value == "(bytes of a tar)":
                content["files"][field] = ("checkpoint.tar", self.tar())
            elif field in ("file", "data"):
                content["files"][field] = ("reviews.csv", value.encode())
            else:
                content["data"][field] = value
        return content

    def tar(self) -> bytes:
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as tar:
            tar.add(self.scratch / MOOD, arcname=".")
        return packed.getvalue()


def examples(operation: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """The media type and value of each example of a request body, or a single pair without a body if there are none."""
    content = operation.get("requestBody", {}).get("content", {})
    for media, body in content.items():
        for example in body.get("examples", {"": {"value": body.get("example")}}).values():
            yield media, example["value"]
    if not content:
        yield "", None
