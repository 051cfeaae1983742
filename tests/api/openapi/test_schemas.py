"""The schemas of the OpenAPI document, as client generators read them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import msgspec
import pytest

from app.api.openapi.schemas import constrain, described, partial_structs, reached, tidy
from app.settings import Settings
from tests.serving import application_of

BODIES = {
    "ChatRequest",
    "ClassifyRequest",
    "CompletionRequest",
    "EmbeddingRequest",
    "JobRequest",
    "ResponseRequest",
    "AliasRequest",
    "UploadRequest",
}


class Inner(msgspec.Struct, omit_defaults=True):
    """A part."""

    flag: bool | None = None


class Outer(msgspec.Struct):
    """A whole.

    Its second paragraph."""

    name: str
    inner: Inner
    anything: list[Any]
    count: int = 3
    label: str | None = None
    later: int | msgspec.UnsetType = msgspec.UNSET
    pair: tuple[float, float] = (0.0, 1.0)


@cache
def document() -> dict[str, Any]:
    return application_of(Settings()).openapi()


def nodes(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from nodes(inner)


def test_a_reply_lists_what_is_always_sent() -> None:
    schemas = described([Outer])
    tidy(schemas, requests=(), partial=partial_structs([Outer]))
    assert schemas["Outer"]["required"] == ["name", "inner", "anything", "count", "label", "pair"]
    assert "required" not in schemas["Inner"] or schemas["Inner"]["required"] == []
    assert schemas["Outer"]["description"] == "A whole.\n\nIts second paragraph."
    assert schemas["Outer"]["properties"]["anything"] == {"type": "array", "items": {}}
    pair = {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}
    assert schemas["Outer"]["properties"]["pair"] == pair


def test_a_request_describes_its_defaults() -> None:
    schemas = described([Outer])
    tidy(schemas, requests=["Outer"], partial=())
    assert schemas["Outer"]["required"] == ["name", "inner", "anything"]
    assert schemas["Outer"]["properties"]["count"] == {"type": "integer", "description": "Default: 3"}
    assert schemas["Outer"]["properties"]["label"] == {"anyOf": [{"type": "string"}, {"type": "null"}]}
    assert reached(schemas, ["Outer"]) == {"Outer", "Inner"}


def test_keywords_go_to_the_alternatives_that_they_fit() -> None:
    schema: dict[str, Any] = {"anyOf": [{"type": "integer"}, {"type": "string"}, {"type": "null"}]}
    constrain(schema, minimum=1, pattern="^a")
    assert schema["anyOf"] == [{"type": "integer", "minimum": 1}, {"type": "string", "pattern": "^a"}, {"type": "null"}]
    one: dict[str, Any] = {"type": "number", "default": 0.5}
    constrain(one, maximum=1, nullable=True)
    assert one == {"default": 0.5, "anyOf": [{"type": "number", "maximum": 1}, {"type": "null"}]}


def test_generators_can_read_every_schema() -> None:
    """openapi-python-client or openapi-typescript omitted or misread each of these schemas."""
    schemas = document()["components"]["schemas"]
    for node in nodes(schemas):
        assert node.get("type") != "array" or isinstance(node["items"], dict)
        assert not any(isinstance(value, bool) for value in node.get("enum", ()) if isinstance(node["enum"], list))
        assert "default" not in node or isinstance(node["default"], dict)  # a property may have this name
    assert set(schemas) > BODIES


@pytest.mark.parametrize(
    ("name", "field", "keywords"),
    [
        ("JobRequest", "seed", {"minimum": 0, "maximum": 2**31 - 1}),
        ("JobRequest", "task", {"enum": ["classification", "multilabel", "regression", "generation"]}),
        ("JobRequest", "suffix", {"maxLength": 64}),
        ("JobRequest", "validation_split", {"exclusiveMinimum": 0, "exclusiveMaximum": 1}),
        ("TrainingOptions", "epochs", {"exclusiveMinimum": 0, "maximum": 100_000}),
        ("TrainingOptions", "schedule", {"enum": ["cosine", "linear", "constant", "plateau", "auto"]}),
        ("Hyperparameters", "n_epochs", {"exclusiveMinimum": 0}),
        ("UploadRequest", "bytes", {"minimum": 1}),
        ("CompletionRequest", "skip_special_tokens", {"const": True, "type": "boolean"}),
    ],
)
def test_bounds_are_written_down(name: str, field: str, keywords: dict[str, Any]) -> None:
    schema = document()["components"]["schemas"][name]["properties"][field]
    assert any(keywords.items() <= branch.items() for branch in schema.get("anyOf", [schema])), schema


def test_nulls_of_examples_are_kept() -> None:
    example = document()["paths"]["/v1/classify"]["post"]["responses"]["200"]["content"]["application/json"]["example"]
    assert example["data"][0]["value"] is None
    assert "\0" not in str(document())
