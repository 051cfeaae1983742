"""Parses a client's JSON into a validated `JobRequest`.

Every error is an InvalidRequest. If the error is about a field, `param` is the name of the field. References are
resolved later, when the job is created.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from app.errors import InvalidRequest, as_sent, did_you_mean
from app.jobs import limits
from app.jobs.request import JobRequest, Publish
from app.wire.training_options import Columns, LoraOptions, TrainingOptions
from app.wording import fault_in_words

OPENAI_NAMES = {"n_epochs": "epochs"}  # OpenAI's name -> this service's name; all other names are the same
OPTIONS = TrainingOptions.__struct_fields__
NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")  # a NUL in JSON; after an escaped backslash, "u0000" is plain text
FIELDS: Mapping[str, tuple[str, ...]] = {  # path of an object in the body -> its fields
    "": (*JobRequest.__struct_fields__, "resources"),
    "columns": Columns.__struct_fields__,
    "publish": Publish.__struct_fields__,
    "training": OPTIONS,
    "method": ("type", "supervised"),
    "method.supervised": ("hyperparameters",),
    "method.supervised.hyperparameters": (*OPENAI_NAMES, *OPTIONS),
    "hyperparameters": (*OPENAI_NAMES, *OPTIONS),
    **{
        f"{path}.lora": LoraOptions.__struct_fields__
        for path in ("training", "method.supervised.hyperparameters", "hyperparameters")
    },
}


def parse(body: Mapping[str, Any]) -> JobRequest:
    """Parse and validate a client's JSON object. Raises InvalidRequest with `param` set to the name of the field as the
    client sent it.
    """
    if not isinstance(body, Mapping):
        raise InvalidRequest("the request body must be a JSON object")
    check_text(body)
    _check_names(body)
    fields = {name: value for name, value in body.items() if value is not None}
    _check_supported(fields)
    fields.pop("resources", None)  # always empty here: `_check_supported` refuses other values
    if "validation_split" in fields and "validation_file" in fields:
        message = "validation_split has no effect with a validation_file; leave out one of them"
        raise InvalidRequest(message, param="validation_split")
    fields["training"], _ = _merge_options(fields)
    try:
        request = msgspec.convert(fields, JobRequest)
        limits.check(request)
    except msgspec.ValidationError as error:
        raise as_sent(_wrong_type(error), sent_names(body)) from None
    except InvalidRequest as error:
        raise as_sent(error, sent_names(body)) from None
    return request


def sent_names(body: Mapping[str, Any]) -> dict[str, str]:
    """Map options to their paths in a valid body, if these differ: `training.epochs` -> `hyperparameters.n_epochs`."""
    _, sources = _merge_options(body)
    return {f"training.{name}": source for name, source in sources.items() if source != f"training.{name}"}


def check_text(body: Mapping[str, Any]) -> None:
    """Reject values that a database cannot store: lone surrogates, NUL characters, NaN and infinity."""
    try:
        text = json.dumps(body, ensure_ascii=False, allow_nan=False)
        text.encode()
    except (UnicodeEncodeError, ValueError, RecursionError, TypeError):
        for path in _infinite_fields(body):
            raise InvalidRequest(f"{path} must be a finite number", param=path) from None
        raise InvalidRequest("the request body contains a lone surrogate, a NaN or an infinity") from None
    if NUL.search(text):
        raise InvalidRequest("the request body contains a NUL character")


def _infinite_fields(body: Mapping[str, Any]) -> Iterator[str]:
    """Yield the paths of the known fields whose value is NaN or infinite."""
    for path, names in FIELDS.items():
        value = _value_at(body, path)
        for name in names if isinstance(value, Mapping) else ():
            if isinstance(number := value.get(name), float) and not math.isfinite(number):
                yield f"{path}.{name}".lstrip(".")


def _check_names(body: Mapping[str, Any]) -> None:
    for path, names in FIELDS.items():
        value = _value_at(body, path)
        for name in value if isinstance(value, Mapping) else ():
            if name not in names:
                raise _unknown_field(f"{path}.{name}".lstrip("."), str(name), names)


def _unknown_field(path: str, name: str, names: tuple[str, ...]) -> InvalidRequest:
    hint = did_you_mean(name, names, f"; the fields are {', '.join(names)}")
    return InvalidRequest(f"{path!r} is not a known field{hint}", code="unknown_field", param=path)


def _value_at(body: Mapping[str, Any], path: str) -> Any:
    value: Any = body
    for name in filter(None, path.split(".")):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _check_supported(fields: Mapping[str, Any]) -> None:
    """Reject options of OpenAI's API that this service does not support. Empty values are accepted."""
    kind = _value_at(fields, "method.type")
    if kind not in (None, "supervised"):
        message = f"method {kind!r} is not supported; use 'supervised'"
        raise InvalidRequest(message, code="unsupported_method", param="method.type")
    if not isinstance(_value_at(fields, "method.supervised") or {}, Mapping):
        raise InvalidRequest("method.supervised must be an object", param="method.supervised")
    if fields.get("integrations"):
        message = "integrations are not supported; the job's events contain every metric"
        raise InvalidRequest(message, code="unsupported_integration", param="integrations")
    if fields.get("resources"):
        message = "resources are not supported: the worker's OSTINATO_THREADS and OSTINATO_DEVICE apply to each job"
        raise InvalidRequest(message, code="unsupported_resources", param="resources")


def _merge_options(fields: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Merge the training options from the three objects that may contain them.

    Also returns the path of each option's value in the body. An option with the value "auto" is treated as not set.
    Raises InvalidRequest if an option is given two different values.
    """
    merged: dict[str, Any] = {}
    sources: dict[str, str] = {}  # option -> the path of its value
    for path in ("training", "method.supervised.hyperparameters", "hyperparameters"):
        options = _value_at(fields, path)
        if options is not None and not isinstance(options, Mapping):
            raise InvalidRequest(f"{path} must be an object", param=path)
        for key, value in (options or {}).items():
            name, source = OPENAI_NAMES.get(str(key), str(key)), f"{path}.{key}"
            if value is None or value == "auto":
                continue
            if merged.setdefault(name, value) != value:
                message = f"{source} is {value!r}, but {sources[name]} is {merged[name]!r}; send only one value"
                raise InvalidRequest(message, param=source)
            sources.setdefault(name, source)
    return merged, sources


def _wrong_type(error: msgspec.ValidationError) -> InvalidRequest:
    """Convert msgspec's "Expected `int`, got `str` - at `$.training.epochs`" to an error about that field."""
    problem, _, path = str(error).partition(" - at `")
    param = path.rstrip("`").removeprefix("$").lstrip(".") or None
    if param is None and "missing required field" in problem:
        param = problem.rpartition("field `")[2].rstrip("`")
        return InvalidRequest(f"{param!r} is missing", code="missing_field", param=param)
    return InvalidRequest(f"{param or 'the request body'}{fault_in_words(problem)}", param=param)
