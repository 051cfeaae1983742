"""Every example of the documentation, sent as it stands: what a reader copies must work, and look as shown."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.serving import Api, Shelf

MOOD, TALE = "demo-sentiment-lstm", "demo-text-lstm"
FIXED = ("", ".data", ".choices", ".usage", ".engines", ".error")  # objects with the same fields always


class Reader:
    """Somebody who tries the documentation out, on a service that has the things which it speaks of."""

    def __init__(self, client: httpx.Client, shelf: Shelf, scratch: Path) -> None:
        self.client, self.shelf, self.scratch = client, shelf, scratch
        for _ in range(3):
            shelf.classifier(MOOD)
        shelf.generator(TALE)
        shelf.registry.set_alias(MOOD, "champion", 2, "local")

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

    def place(self, method: str, path: str) -> str:
        """The path with names of things that are there, fit for what is to be done to them."""
        names = {
            "{name}": MOOD,
            "{version}": "1",
            "{path}": "model.safetensors",
            "{alias}": "champion",
            "{model}": MOOD,
        }
        if method == "delete" and path in ("/v1/models/{model}", "/v1/registry/models/{name}/versions/{version}"):
            ref = self.shelf.classifier("spare").ref
            names |= {"{model}": ref, "{name}": "spare", "{version}": ref.partition(":")[2]}
        if "{file_id}" in path:
            names["{file_id}"] = self.file()
        if "{job_id}" in path:
            names["{job_id}"] = self.job()
            if path.endswith("/resume"):
                self.made(f"/v1/fine_tuning/jobs/{names['{job_id}']}/pause")
        if "{upload_id}" in path:
            names["{upload_id}"] = self.upload()[0]
        if "{alias}" in path:
            self.shelf.registry.set_alias(MOOD, "champion", 2, "local")
        for name, value in names.items():
            path = path.replace(name, value)
        return path + (f"?versions={MOOD}:1,{MOOD}:2" if path.endswith("/compare") else "")

    def json_body(self, path: str, value: Any) -> tuple[str, Any]:
        """Ids that the service gives are those of things just made; everything else is sent as it is written."""
        if path.endswith("/complete"):
            upload, parts = self.upload(*[b"text,label\n"] * len(value["part_ids"]))
            return path.replace(path.split("/")[3], upload), {**value, "part_ids": parts}
        return path, {**value, "training_file": self.file()} if "training_file" in value else value

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
            tar.add(self.scratch / "checkpoint-1", arcname=".")
        return packed.getvalue()


def examples(operation: dict[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """Media type, name and value of each request that is shown; one without a body where none is."""
    content = operation.get("requestBody", {}).get("content", {})
    for media, said in content.items():
        named = said.get("examples") or {"the example": {"value": said["example"]}}
        for name, example in named.items():
            yield media, name, example["value"]
    if not content:
        yield "", "", None


def answered(operation: dict[str, Any], reply: httpx.Response) -> None:
    """As it is described: a status of success, the media type, and the fields of the example."""
    said = operation["responses"].get(str(reply.status_code))
    assert said and reply.status_code < 300, reply.text
    media = reply.headers["content-type"].partition(";")[0]
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


@pytest.mark.parametrize("status", ["400", "404", "429", "503"])
def test_errors_look_as_shown(api: Api, status: str) -> None:
    with api.client() as client:
        document = client.get("/openapi.json").json()
        shown = document["paths"]["/v1/classify"]["post"]["responses"][status]["content"]["application/json"]["example"]
        said = client.post("/v1/classify", json={"model": "nobody", "input": "a"}).json()
    assert set(shown) == {"error"} and set(shown["error"]) | {"param"} == set(said["error"])
