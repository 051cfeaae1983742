"""JSON schemas of request and reply structs, in a form that client generators can read.

msgspec's schemas describe how msgspec decodes a struct. This module adapts the schemas for client generators. Request
fields have no `default`, because TypeScript generators would make such a field required; the default is part of the
description instead. In a reply's schema, the fields that are always sent are required. Every array has `items`.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec
import msgspec.inspect

REF = "#/components/schemas/{name}"
NUMERIC = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
TYPES = {  # JSON schema keyword -> the types that it constrains
    **dict.fromkeys(NUMERIC, ("integer", "number")),
    **dict.fromkeys(("pattern", "minLength", "maxLength", "enum"), ("string",)),
    **dict.fromkeys(("items", "minItems", "maxItems"), ("array",)),
    **dict.fromkeys(("propertyNames", "additionalProperties", "maxProperties", "properties"), ("object",)),
}
Schema = dict[str, Any]


def constrain(schema: Schema, **keywords: Any) -> None:
    """Add keywords to a schema. In `anyOf`, a keyword is added only to alternatives with a matching type.

    `nullable` adds null as an alternative; `anyOf` replaces the alternatives.
    """
    if keywords.pop("nullable", False):
        schema["anyOf"] = [{key: schema.pop(key) for key in list(schema) if key != "default"}, {"type": "null"}]
    if "anyOf" in keywords:
        schema["anyOf"] = keywords.pop("anyOf")
    for keyword, value in keywords.items():
        for branch in schema.get("anyOf", [schema]):
            if keyword not in TYPES or branch.get("type") in TYPES[keyword]:
                branch[keyword] = value


def described(structs: Iterable[type[msgspec.Struct]]) -> dict[str, Schema]:
    """Return the schemas that msgspec generates for the structs and all types to which they refer, by name."""
    _, schemas = msgspec.json.schema_components(structs, ref_template=REF)
    return schemas


def partial_structs(structs: Iterable[type[msgspec.Struct]]) -> set[str]:
    """The names of the structs, including nested ones, that omit fields with default values."""
    names: set[str] = set()
    ahead = list(msgspec.inspect.multi_type_info(structs))
    seen: set[type] = set()
    while ahead:
        info: Any = ahead.pop()
        if isinstance(info, msgspec.inspect.StructType):
            if info.cls in seen:
                continue
            seen.add(info.cls)
            if info.cls.__struct_config__.omit_defaults:
                names.add(info.cls.__name__)
            ahead += [field.type for field in info.fields]
        ahead += getattr(info, "types", ())
        inner = (getattr(info, name, None) for name in ("type", "item_type", "key_type", "value_type"))
        ahead += [type_ for type_ in inner if isinstance(type_, msgspec.inspect.Type)]
    return names


def tidy(schemas: dict[str, Schema], requests: Iterable[str], partial: Iterable[str]) -> None:
    """Complete the schemas in place.

    `requests` contains the names of request body schemas, and `partial` contains the names of the schemas for replies
    that may omit fields.
    """
    in_requests, in_partial = reached(schemas, requests), set(partial)
    for name, schema in schemas.items():
        if "description" in schema:
            schema["description"] = inspect.cleandoc(schema["description"])
        for node in _nodes(schema):
            _tidy_node(node)
        for field, value in schema.get("properties", {}).items():
            if "default" not in value:
                continue
            default = value.pop("default")
            if name in in_requests:
                _describe_default(value, default)
            elif name not in in_partial:
                schema.setdefault("required", []).append(field)


def reached(schemas: Mapping[str, Schema], names: Iterable[str]) -> set[str]:
    """The given names, plus the names of all schemas to which they refer, directly or indirectly."""
    seen: set[str] = set()
    ahead = list(names)
    while ahead:
        name = ahead.pop()
        if name not in seen:
            seen.add(name)
            ahead += [node["$ref"].rpartition("/")[2] for node in _nodes(schemas[name]) if "$ref" in node]
    return seen


def _nodes(schema: Any) -> Iterator[Schema]:
    """Iterate over the schema and all schemas nested in it."""
    if isinstance(schema, dict):
        yield schema
    for inner in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        yield from _nodes(inner)


def _tidy_node(node: Schema) -> None:
    if node.get("type") == "array" and "items" not in node:
        node["items"] = {}
    if node.get("items") is False:  # a tuple; generators of Python clients cannot read a boolean schema
        kinds = node.pop("prefixItems")
        node["items"] = kinds[0] if all(kind == kinds[0] for kind in kinds) else {"anyOf": kinds}
    if isinstance(node.get("enum"), list) and all(isinstance(value, bool) for value in node["enum"]):
        [node["const"]] = node.pop("enum")
        node["type"] = "boolean"
    if node.get("type") == "object" and isinstance(node.get("additionalProperties"), dict):
        node["additionalProperties"].pop("default", None)


def _describe_default(schema: Schema, default: Any) -> None:
    if default in (None, {}, []) or isinstance(default, dict):
        return
    shown = str(default).lower() if isinstance(default, bool) else default
    schema["description"] = (
        f"{schema['description']}. Default: {shown}" if "description" in schema else f"Default: {shown}"
    )
