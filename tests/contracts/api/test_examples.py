"""Every example of the OpenAPI document is sent unchanged.

It must succeed, and the reply must have the documented form.
"""

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
import msgspec
import pytest

from app.demo.trainings import TRAININGS
from app.settings import Settings
from app.tokenization.chat import TEMPLATE
from tests.checkpoints import make_checkpoint, publish
from tests.serving import LABELS, Api, Shelf, application_of, byte_tokenizer

pytestmark = pytest.mark.long

MOOD, TALE = "demo-sentiment-lstm", "demo-text-lstm"
FIXED = ("", ".data", ".choices", ".usage", ".engines", ".error")  # objects that always have the same fields
METRICS = {"test": {"accuracy": 0.9}}
GENERATED = (  # ids that the service generates
    "file_id",
    "job_id",
    "evaluation_id",
    "batch_id",
    "upload_id",
    "webhook_endpoint_id",
)
CONVERSATIONS = (
    "/v1/chat/completions",
    "/v1/responses",
    "/api/chat",
    "/models/{name}/v1/chat/completions",
)  # whose examples need a version that no demo trains
UNNAMED = {  # routes whose path and body name no model -> the model of their examples
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
        self.register_trained("reviews")  # of the examples that delete
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
        """The path, query and body of the example.

        Generated ids are replaced with the ids of objects created for the example.
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
        """The form of an example. The content of a file is shown as text, or described in parentheses."""
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


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return msgspec.structs.replace(settings, webhook_networks="127.0.0.1")  # of this service


@pytest.fixture
def reader(api: Api, shelf: Shelf, tmp_path: Path) -> Iterator[Reader]:
    with api.client() as client:
        yield Reader(client, shelf, tmp_path)


def examples(operation: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """The media type and value of each example of a request body, or a single pair without a body if there are none."""
    content = operation.get("requestBody", {}).get("content", {})
    for media, body in content.items():
        for example in body.get("examples", {"": {"value": body.get("example")}}).values():
            yield media, example["value"]
    if not content:
        yield "", None


def check_reply(operation: dict[str, Any], reply: httpx.Response) -> None:
    """Check that the reply is a success with the documented media type and the fields of the example."""
    documented = operation["responses"].get(str(reply.status_code))
    assert documented and reply.status_code < 300, reply.text
    if "content" not in documented:
        assert reply.content == b""
        return
    media = reply.headers["content-type"].partition(";")[0]
    if "format': 'binary" in str(documented["content"]):
        return
    assert media in documented["content"], media
    example = documented["content"][media].get("example")
    if media == "application/json":
        assert missing_fields(example, reply.json()) == set()
    if media == "text/event-stream":
        first = events(example)[0]
        alike = next(event for event in events(reply.text) if event.get("type") == first.get("type"))
        assert missing_fields(first, alike) == set()
        end = "data: [DONE]\n\n"  # some streams end with an event of their own instead
        assert reply.text.endswith(end) == example.endswith(end)


def events(text: str) -> list[Any]:
    return [json.loads(line.removeprefix("data: ")) for line in text.splitlines() if line.startswith("data: {")]


def missing_fields(example: Any, reply: Any, place: str = "") -> set[str]:
    """The fields of the example that are missing in the reply. Compares only the first items of lists."""
    if isinstance(example, dict) and isinstance(reply, dict):
        missing = {f"{place}.{key}" for key in example if key not in reply and place in FIXED}
        for key in example.keys() & reply.keys():
            missing |= missing_fields(example[key], reply[key], f"{place}.{key}")
        return missing
    if isinstance(example, list) and isinstance(reply, list) and example and reply:
        return missing_fields(example[0], reply[0], place)
    return set()


@pytest.mark.parametrize(("method", "path", "name"), OPERATIONS, ids=[name for *_, name in OPERATIONS])
def test_every_example_works(reader: Reader, method: str, path: str, name: str) -> None:
    operation = document()["paths"][path][method]
    for media, value in examples(operation):
        is_form = media == "multipart/form-data"
        target, query, body = reader.target(path, operation, None if is_form else value)
        content = reader.form(value) if is_form else {} if body is None else {"json": body}
        check_reply(operation, reader.client.request(method, target, params=query, **content))
        for more in reader.optional(target, operation) if method == "get" else ():
            check_reply(operation, reader.client.get(target, params=query | more))


def test_every_parameter_has_an_example() -> None:
    """Swagger UI sends each `example`, so only required parameters have one.

    Optional ones have `examples` in their schema.
    """
    for method, path, name in OPERATIONS:
        for parameter in document()["paths"][path][method].get("parameters", ()):
            where = f"{name} {parameter['name']}: see app/api/openapi/parameters.py"
            assert parameter.get("description"), where
            assert ("example" in parameter) == parameter["required"], where
            assert parameter["required"] or parameter["schema"].get("examples"), where


def test_generated_ids_have_the_right_form_and_name_their_source() -> None:
    for method, path, name in OPERATIONS:
        operation = document()["paths"][path][method]
        for parameter in operation.get("parameters", ()):
            if parameter["name"] in GENERATED and parameter["required"]:
                assert AN_ID.fullmatch(parameter["example"]), name
                assert re.search("(GET|POST) /v1/", parameter["description"]), name
        for media in operation.get("requestBody", {}).get("content", {}).values():
            for example in media.get("examples", {}).values():
                value = example["value"]
                for id_ in [value.get("training_file", ""), *value.get("part_ids", ())]:
                    assert not id_ or (AN_ID.fullmatch(id_) and "POST /v1/" in example["summary"]), name
    schemas = document()["components"]["schemas"]
    for kind, field in (("JobRequest", "training_file"), ("CompleteRequest", "part_ids")):
        assert "POST /v1/" in schemas[kind]["properties"][field]["description"]


def test_every_kind_of_input_to_classify_has_an_example() -> None:
    examples = document()["paths"]["/v1/classify"]["post"]["requestBody"]["content"]["application/json"]["examples"]
    assert list(examples) == ["one text", "several texts", "pair", "numbers"]
    assert all("version" in examples[name]["summary"] for name in ("pair", "numbers"))


@pytest.mark.parametrize("status", ["400", "404", "429", "503"])
def test_errors_look_like_their_example(api: Api, status: str) -> None:
    with api.client() as client:
        documented = document()["paths"]["/v1/classify"]["post"]["responses"][status]["content"]["application/json"]
        reply = client.post("/v1/classify", json={"model": "nobody", "input": "a"}).json()
    assert set(documented["example"]) == {"error"}
    assert set(documented["example"]["error"]) | {"param"} == set(reply["error"])
