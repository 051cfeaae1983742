"""The documented schema of a request and the struct that decodes it accept and reject the same bodies."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api.decisions.decisions_schemas import DecisionRequest
from app.api.decisions.systemone_schemas import SystemOneRequest
from app.api.http.bodies import JsonBody
from app.api.native.classify import ClassifyRequest
from app.api.native.tokenization import DetokenizeRequest, TokenizeRequest
from app.api.openai.completions_schemas import CompletionRequest
from app.api.openai.embeddings import EmbeddingRequest
from app.api.openai.moderations import ModerationRequest
from app.errors import InvalidRequest
from tests.api.openapi.test_schemas import document

REQUESTS = {kind.__name__: kind for kind in (ClassifyRequest, EmbeddingRequest, CompletionRequest, TokenizeRequest)}
REQUESTS |= {k.__name__: k for k in (DetokenizeRequest, DecisionRequest, SystemOneRequest, ModerationRequest)}
TYPES: dict[str, Any] = {
    "null": type(None), "boolean": bool, "integer": int, "number": (int, float), "string": str, "array": list,
    "object": dict,
}  # fmt: skip
Schema = dict[str, Any]


def is_type(value: Any, name: str) -> bool:
    return isinstance(value, TYPES[name]) and (name == "boolean" or not isinstance(value, bool))


def fits(value: Any, schema: Schema) -> bool:
    """Whether a value conforms to a schema. Supports the keywords that occur in the document."""
    if "$ref" in schema:
        return fits(value, document()["components"]["schemas"][schema["$ref"].rpartition("/")[2]])
    if "anyOf" in schema:
        return any(fits(value, branch) for branch in schema["anyOf"])
    if ("enum" in schema and value not in schema["enum"]) or ("const" in schema and value != schema["const"]):
        return False
    if "not" in schema and fits(value, schema["not"]):
        return False
    if "type" in schema and not is_type(value, schema["type"]):
        return False
    return fits_bounds(value, schema) and fits_inside(value, schema)


def fits_bounds(value: Any, schema: Schema) -> bool:
    if isinstance(value, int | float) and not isinstance(value, bool):
        low, high = schema.get("minimum", value), schema.get("maximum", value)
        above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
        return low <= value <= high and (above is None or value > above) and (below is None or value < below)
    for kind, noun in ((str, "Length"), (list, "Items"), (dict, "Properties")):
        if isinstance(value, kind):
            return bool(schema.get(f"min{noun}", 0) <= len(value) <= schema.get(f"max{noun}", len(value)))
    return True


def fits_inside(value: Any, schema: Schema) -> bool:
    if isinstance(value, list):
        return all(fits(item, schema.get("items", {})) for item in value)
    if not isinstance(value, dict):
        return True
    properties, rest = schema.get("properties", {}), schema.get("additionalProperties", True)
    pattern = schema.get("propertyNames", {}).get("pattern", "")
    return all(name in value for name in schema.get("required", ())) and all(
        re.search(pattern, name) is not None
        and (
            fits(inner, properties[name])
            if name in properties
            else rest is not False and (rest is True or fits(inner, rest))
        )
        for name, inner in value.items()
    )


def values(schema: Schema) -> st.SearchStrategy[Any]:
    """Test values for a schema: values of its enumerations, values near its bounds, and values of correct and wrong
    types."""
    if "$ref" in schema:
        return values(document()["components"]["schemas"][schema["$ref"].rpartition("/")[2]])
    if "anyOf" in schema:
        return st.one_of(*map(values, schema["anyOf"]))
    edges = [schema[k] for k in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum") if k in schema]
    near = [edge + change for edge in edges for change in (-1, 0, 1) if abs(edge + change) < 2**63]
    chosen = st.sampled_from([*schema.get("enum", ()), *near, None, True, 0, 1, 0.5, -1, "", "a", [], {}])
    if schema.get("type") == "array":
        return chosen | st.lists(values(schema.get("items", {})), max_size=3)
    if schema.get("type") == "object":
        return chosen | objects(schema)
    return chosen


def objects(schema: Schema) -> st.SearchStrategy[dict[str, Any]]:
    """Objects with some of the fields of a schema, and sometimes with an unknown field."""
    fields = {name: values(inner) for name, inner in schema.get("properties", {}).items()}
    required = {name: fields[name] for name in schema.get("required", ())}
    optional = {name: value for name, value in fields.items() if name not in required}
    some = st.lists(st.sampled_from(sorted(optional)), max_size=3, unique=True) if optional else st.just([])
    whole = some.flatmap(lambda names: st.fixed_dictionaries({**required, **{n: optional[n] for n in names}}))
    return whole | st.tuples(whole, st.sampled_from(["5", "-1", "unknown"])).map(lambda pair: {**pair[0], pair[1]: 1})


@pytest.mark.parametrize("name", REQUESTS)
@given(data=st.data())
def test_schema_and_struct_agree(name: str, data: st.DataObject) -> None:
    schema = document()["components"]["schemas"][name]
    body = data.draw(objects(schema))
    try:
        JsonBody(REQUESTS[name]).decode(msgspec.json.encode(body))  # type: ignore[type-var]
    except InvalidRequest as error:
        assert not fits(body, schema), (body, error.message)
    else:
        assert fits(body, schema), body


def test_the_comparison_can_fail() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer", "minimum": 1}}, "required": ["a"]}
    assert fits({"a": 1, "b": 2}, schema) and not fits({"a": 1, "b": 2}, {**schema, "additionalProperties": False})
    assert not fits({"a": 0}, schema) and not fits({}, schema) and not fits({"a": "1"}, schema)
    assert not fits(0, {"type": "integer", "not": {"const": 0}}) and not fits(True, {"type": "integer"})
