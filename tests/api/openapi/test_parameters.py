"""The parameters of the OpenAPI document: bounds and harmless examples."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from app.registry.records import ModelReference
from tests.api.openapi.test_schemas import document


def operations() -> Iterator[tuple[str, dict[str, Any]]]:
    for methods in document()["paths"].values():
        yield from methods.items()


def schema_of(operation_id: str, parameter: str) -> dict[str, Any]:
    [operation] = [operation for _, operation in operations() if operation["operationId"] == operation_id]
    [schema] = [p["schema"] for p in operation["parameters"] if p["name"] == parameter]
    return dict(schema)


def test_no_parameter_of_a_query_is_null() -> None:
    for _, operation in operations():
        for parameter in operation.get("parameters", ()):
            assert "null" not in str(parameter["schema"].get("anyOf", "")), operation["operationId"]


def test_every_limit_and_order_is_bounded() -> None:
    for _, operation in operations():
        for parameter in operation.get("parameters", ()):
            if parameter["name"] == "limit":
                most = 10_000 if operation["operationId"] in ("list_files", "list_models") else 1000
                assert (parameter["schema"]["minimum"], parameter["schema"]["maximum"]) == (1, most)
            if parameter["name"] == "order":
                assert parameter["schema"]["enum"] == ["asc", "desc"]


@pytest.mark.parametrize("reference", ["mood", "mood:3", "mood@champion", f"mood@sha256:{'0' * 64}", "ftckpt-Ab_9"])
def test_the_pattern_of_references_is_that_of_the_registry(reference: str) -> None:
    pattern = schema_of("compare_versions", "versions")["pattern"]
    assert ModelReference.parse(reference)
    assert re.search(pattern, reference) and re.search(pattern, f"{reference},{reference}")
    assert not re.search(pattern, f"{reference} ") and not re.search(pattern, reference.upper() + ":0")


def test_examples_that_delete_spare_the_models_of_the_demo() -> None:
    """If an example deleted a model of the demo, later examples would fail."""
    deleting = [operation for method, operation in operations() if method == "delete"]
    assert len(deleting) == 5
    for operation in deleting:
        for parameter in operation["parameters"]:
            assert not str(parameter.get("example", "")).startswith("demo-"), operation["operationId"]


def test_the_upload_form_is_filled_in_with_what_a_data_set_needs() -> None:
    """Swagger UI sends the first example of a field or of its first alternative, and leaves out empty fields."""
    form = document()["paths"]["/v1/files"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    fields = dict(form["properties"])
    assert fields.pop("purpose")["examples"] == ["fine-tune"]
    assert fields.pop("file")["format"] == "binary"
    assert len(fields) == 11
    for name, schema in fields.items():
        first = schema.get("anyOf", [schema])[0]
        assert first == {"type": "null"} or schema.get("examples") == [""] or first.get("enum") == [""], name


def test_lists_with_after_and_streams_are_described() -> None:
    for _, operation in operations():
        if any(p["name"] == "after" for p in operation.get("parameters", ())):
            assert "404" in operation["responses"], operation["operationId"]
    stream = document()["paths"]["/v1/completions"]["post"]["responses"]["200"]["content"]["text/event-stream"]
    chunk = stream["schema"]["properties"]["data"]["anyOf"][1]
    assert chunk["contentSchema"] == {"$ref": "#/components/schemas/CompletionReply"}
