"""Every example of the documentation, sent as it stands: what a reader copies must work, and look as shown."""

from __future__ import annotations

import io
import json
import re
import tarfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, cast

import httpx
import pytest

from app.api.application import create_app
from app.api.http.services import Services
from app.demo.trainings import TRAININGS
from app.settings import Settings
from tests.checkpoints import make_checkpoint, publish
from tests.serving import LABELS, Api, Shelf, byte_tokenizer

MOOD, TALE = "demo-sentiment-lstm", "demo-text-lstm"
FIXED = ("", ".data", ".choices", ".usage", ".engines", ".error")  # objects with the same fields always
METRICS = {"test": {"accuracy": 0.9}}
GIVEN = ("file_id", "job_id", "upload_id")  # ids that only the service gives out
AN_ID = re.compile(r"(file|ftjob|ftevent|ftckpt|upload|part)-[0-9a-f]{24}")


@cache
def document() -> dict[str, Any]:
    return create_app(Settings(), lambda _: cast(Services, None)).openapi()  # for its document it needs no service


OPERATIONS = [
    (method, path, operation["operationId"])
    for path, operations in document()["paths"].items()
    for method, operation in operations.items()
]


class Reader:
    """Somebody who tries the documentation out, on a service with the demo's models and those of the guides."""

    def __init__(self, client: httpx.Client, shelf: Shelf, scratch: Path) -> None:
        self.client, self.shelf, self.scratch = client, shelf, scratch
        for name, *_ in TRAININGS:
            if name.startswith("demo-sentiment"):
                self.trained(name)
            else:
                shelf.generator(name)
        shelf.classifier("pairs")
        shelf.classifier("waves", input="features", features=2, vocab_size=None)

    def trained(self, name: str) -> None:
        """A version with the figures that a training leaves."""
        directory = self.scratch / name
        make_checkpoint(directory, labels=LABELS, vocab_size=byte_tokenizer().vocab_size, context_length=64)
        byte_tokenizer().save(directory)
        (directory / "metrics.json").write_text(json.dumps(METRICS))
        publish(self.shelf.registry, directory, name, "local", metrics=METRICS)

    def file(self) -> str:
        content = {"file": ("reviews.csv", b"text,label\nI love this,positive\n")}
        return str(self.made("/v1/files", data={"purpose": "fine-tune"}, files=content)["id"])

    def job(self) -> str:
        return str(self.made("/v1/fine_tuning/jobs", json={"model": "lstm", "training_file": self.file()})["id"])

    def upload(self, *parts: bytes) -> tuple[str, list[str]]:
        body = {"bytes": sum(map(len, parts)) or 9, "filename": "reviews.csv", "purpose": "fine-tune"}
        found = str(self.made("/v1/uploads", json=body)["id"])
        return found, [str(self.made(f"/v1/uploads/{found}/parts", files={"data": part})["id"]) for part in parts]

    def made(self, path: str, **content: Any) -> dict[str, Any]:
        found: dict[str, Any] = self.client.post(path, **content).raise_for_status().json()
        return found

    def target(self, path: str, operation: dict[str, Any], body: Any) -> tuple[str, dict[str, Any], Any]:
        """Path, query and body as they are shown; only ids that the service gives are those of things just made."""
        shown = {p["name"]: p["example"] for p in operation.get("parameters", ()) if p["required"]}
        if "{alias}" in path:
            self.shelf.registry.set_alias(shown["name"], shown["alias"], 1, "local")
        if "file_id" in shown:
            shown["file_id"] = self.file()
        if "job_id" in shown:
            shown["job_id"] = self.job()
            if path.endswith("/resume"):
                self.made(f"/v1/fine_tuning/jobs/{shown['job_id']}/pause")
        if "upload_id" in shown:
            parts = body["part_ids"] if body else []
            shown["upload_id"], made = self.upload(*[b"text,label\n"] * len(parts))
            body = {**body, "part_ids": made} if body else body
        if body and "training_file" in body:
            body = {**body, "training_file": self.file()}
        query = {name: value for name, value in shown.items() if f"{{{name}}}" not in path}
        return path.format(**shown), query, body

    def optional(self, target: str, operation: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """All that a query may say besides, one after the other; with ids that the service gives as in `target`."""
        may_be_sent = [p for p in operation.get("parameters", ()) if p["in"] == "query" and not p["required"]]
        shown = {p["name"]: p["schema"]["examples"][0] for p in may_be_sent}
        for name, value in shown.items():
            if name == "job_id":
                value = self.job()
            if name == "after" and (isinstance(value, int) or AN_ID.fullmatch(value)):
                page = self.client.get(target, params={"limit": 1}).raise_for_status().json()["data"]
                if not page:
                    continue
                value = page[0]["id"]
            yield {name: value} | ({"metric": shown["metric"]} if name in ("minimum", "maximum") else {})

    def form(self, example: dict[str, str]) -> dict[str, Any]:
        """A file's content is written out, or named in parentheses."""
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
def reader(api: Api, shelf: Shelf, tmp_path: Path) -> Iterator[Reader]:
    with api.client() as client:
        yield Reader(client, shelf, tmp_path)


def examples(operation: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Media type and value of each request that is shown; one without a body where none is."""
    content = operation.get("requestBody", {}).get("content", {})
    for media, said in content.items():
        for example in said.get("examples", {"": {"value": said.get("example")}}).values():
            yield media, example["value"]
    if not content:
        yield "", None


def answered(operation: dict[str, Any], reply: httpx.Response) -> None:
    """As it is described: a status of success, the media type, and the fields of the example."""
    said = operation["responses"].get(str(reply.status_code))
    assert said and reply.status_code < 300, reply.text
    media = reply.headers["content-type"].partition(";")[0]
    if "format': 'binary" in str(said["content"]):
        return
    assert media in said["content"], media
    shown = said["content"][media].get("example")
    if media == "application/json":
        assert missing(shown, reply.json()) == set()
    if media == "text/event-stream":
        assert missing(events(shown)[0], events(reply.text)[0]) == set()
        assert reply.text.endswith("data: [DONE]\n\n") and shown.endswith("data: [DONE]\n\n")


def events(text: str) -> list[Any]:
    return [json.loads(line.removeprefix("data: ")) for line in text.split("\n\n") if line.startswith("data: {")]


def missing(shown: Any, said: Any, place: str = "") -> set[str]:
    """Fields that the example shows and the reply lacks; of lists, the first entries are compared."""
    if isinstance(shown, dict) and isinstance(said, dict):
        gone = {f"{place}.{key}" for key in shown if key not in said and place in FIXED}
        return gone.union(*(missing(part, said[key], f"{place}.{key}") for key, part in shown.items() if key in said))
    if isinstance(shown, list) and isinstance(said, list) and shown and said:
        return missing(shown[0], said[0], place)
    return set()


@pytest.mark.parametrize(("method", "path", "name"), OPERATIONS, ids=[name for *_, name in OPERATIONS])
def test_what_is_shown_works(reader: Reader, method: str, path: str, name: str) -> None:
    operation = document()["paths"][path][method]
    for media, value in examples(operation):
        is_form = media == "multipart/form-data"
        target, query, body = reader.target(path, operation, None if is_form else value)
        content = reader.form(value) if is_form else {} if body is None else {"json": body}
        answered(operation, reader.client.request(method, target, params=query, **content))
        for more in reader.optional(target, operation) if method == "get" else ():
            answered(operation, reader.client.get(target, params=query | more))


def test_every_parameter_has_an_example() -> None:
    """A page fills in `example` by itself, so only what must be sent has one; what may be sent shows it aside."""
    for method, path, name in OPERATIONS:
        for parameter in document()["paths"][path][method].get("parameters", ()):
            where = f"{name} {parameter['name']}"
            assert parameter.get("description"), where
            assert ("example" in parameter) == parameter["required"], where
            assert parameter["required"] or parameter["schema"].get("examples"), where


def test_ids_that_only_the_service_gives_have_the_right_form_and_a_source() -> None:
    for method, path, name in OPERATIONS:
        operation = document()["paths"][path][method]
        for parameter in operation.get("parameters", ()):
            if parameter["name"] in GIVEN and parameter["required"]:
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


def test_each_kind_of_input_to_classify_is_shown() -> None:
    shown = document()["paths"]["/v1/classify"]["post"]["requestBody"]["content"]["application/json"]["examples"]
    assert list(shown) == ["one text", "several texts", "pair", "numbers"]
    assert all("version" in shown[name]["summary"] for name in ("pair", "numbers"))


@pytest.mark.parametrize("status", ["400", "404", "429", "503"])
def test_errors_look_as_shown(api: Api, status: str) -> None:
    with api.client() as client:
        shown = document()["paths"]["/v1/classify"]["post"]["responses"][status]["content"]["application/json"]
        said = client.post("/v1/classify", json={"model": "nobody", "input": "a"}).json()
    assert set(shown["example"]) == {"error"}
    assert set(shown["example"]["error"]) | {"param"} == set(said["error"])
