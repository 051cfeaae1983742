"""Every example of the OpenAPI document is sent unchanged.

It must succeed, and the reply must have the documented form.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from app.settings import Settings
from tests.contracts.api.examples import AN_ID, OPERATIONS, Reader, document, examples
from tests.serving import Api, Shelf

pytestmark = pytest.mark.long

FIXED = ("", ".data", ".choices", ".usage", ".engines", ".error")  # objects that always have the same fields
GENERATED = (  # ids that the service generates
    "file_id",
    "job_id",
    "evaluation_id",
    "batch_id",
    "upload_id",
    "webhook_endpoint_id",
)


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return msgspec.structs.replace(settings, webhook_networks="127.0.0.1")  # the address of this service


@pytest.fixture
def reader(api: Api, shelf: Shelf, tmp_path: Path) -> Iterator[Reader]:
    with api.client() as client:
        yield Reader(client, shelf, tmp_path)


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
