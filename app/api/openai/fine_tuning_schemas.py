"""The bounds of a training request's fields, for the OpenAPI document; `app.jobs` checks them."""

from __future__ import annotations

from typing import Any

from app.api.openai.job_requests import METADATA
from app.api.openapi.describe import bound, define
from app.api.openapi.parameters import A_NAME, REFERENCE
from app.api.openapi.schemas import Schema, constrain, described
from app.jobs.limits import FILE_ID, MAX_SEED, MAX_VERSION
from app.jobs.parsing import OPENAI_NAMES
from app.jobs.request import JobRequest, Publish
from app.wire import lora_rules
from app.wire import training_rules as rules
from app.wire.ranges import Range
from app.wire.training_options import LoraOptions, TrainingOptions
from models.choices import ADAPTABLE, TRAINABLE

AUTO = {"type": "string", "enum": ["auto"]}
A_TITLE = {"minLength": 1, "maxLength": 64, "pattern": "[A-Za-z0-9]"}  # text that is converted to a model's name
A_FILE = {"pattern": f"^{FILE_ID.pattern}$"}


def write_bounds() -> None:
    """Add to the OpenAPI document the bounds and schemas that the structs do not express."""
    options = _options()
    bound(TrainingOptions, **{name: {"anyOf": schema["anyOf"]} for name, schema in options.items()})
    targets = {"items": {"type": "string", "enum": list(ADAPTABLE)}, "minItems": 1, "uniqueItems": True}
    ranges = {name: _range(range_) for name, range_ in lora_rules.RANGES.items()}
    bound(LoraOptions, **ranges, target_modules=targets)
    bound(Publish, name=A_TITLE, alias=A_NAME, expected_version={"minimum": 1, "maximum": MAX_VERSION})
    names = options | {theirs: options[ours] for theirs, ours in OPENAI_NAMES.items()}
    description = "The options of `training`, in the format that OpenAI's clients send. `n_epochs` stands for `epochs`."
    chosen = define("Hyperparameters", _object(names, description))
    supervised = _object({"hyperparameters": _or_null(chosen)})
    kind = {"type": "string", "enum": ["supervised"]}
    description = "Hyperparameters in OpenAI's format. The only type is `supervised`."
    method = define("Method", _object({"type": _or_null(kind), "supervised": _or_null(supervised)}, description))
    bound(
        JobRequest,
        model={"minLength": 1, "maxLength": 128, "pattern": f"^{REFERENCE}$"},
        training_file=A_FILE,
        validation_file=A_FILE,
        suffix=A_TITLE,
        seed={"minimum": 0, "maximum": MAX_SEED},
        metadata=METADATA,
        method=_or_null(method),
        hyperparameters=_or_null(chosen),
        integrations={"maxItems": 0},
        task={"enum": list(TRAINABLE)},
        validation_split={"exclusiveMinimum": 0, "exclusiveMaximum": 1, "nullable": True},
        priority={"minimum": -1000, "maximum": 1000, "nullable": True},
        **{field: {"nullable": True} for field in ("columns", "publish", "training")},
    )


def _object(properties: Schema, description: str | None = None) -> Schema:
    """The schema of an object that may contain only the fields in `properties`."""
    about = {} if description is None else {"description": description}
    return {"type": "object", **about, "properties": properties, "additionalProperties": False}


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _options() -> dict[str, Schema]:
    """Each training option's schema, with its range or permitted values, and `auto` for an automatic choice."""
    name = TrainingOptions.__name__
    options: dict[str, Schema] = described([TrainingOptions])[name]["properties"]
    for field, schema in options.items():
        schema.pop("default", None)
        if field in rules.RANGES:
            constrain(schema, **_range(rules.RANGES[field]))
        words = ("balanced",) if field == "class_weights" else rules.WORDS.get(field)
        if words:
            constrain(
                schema, enum=[*words, "auto"], additionalProperties=_range(rules.CLASS_WEIGHT) | {"type": "number"}
            )
        else:
            schema["anyOf"].append(AUTO)
    return options


def _range(range_: Range) -> dict[str, Any]:
    low = "exclusiveMinimum" if range_.above else "minimum"
    high = "exclusiveMaximum" if range_.below else "maximum"
    return {low: range_.low, high: range_.high}
