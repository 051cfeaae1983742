"""A client's JSON, parsed into a checked `JobRequest`.

Every complaint is an InvalidRequest that names the field. `service` looks up what refers to files, models or jobs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from app.errors import InvalidRequest, did_you_mean
from app.jobs import limits
from app.jobs.request import JobRequest, Publish
from app.wire.training_options import Columns, TrainingOptions

OPENAI_PLACES = {"n_epochs": "epochs"}  # their name -> ours; other names are the same
OPTIONS = TrainingOptions.__struct_fields__
NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")  # in JSON; after a backslash of its own it is plain text
KNOWN: Mapping[str, tuple[str, ...]] = {  # the fields of each object, by its place
    "": (*JobRequest.__struct_fields__, "resources"),
    "columns": Columns.__struct_fields__,
    "publish": Publish.__struct_fields__,
    "training": OPTIONS,
    "method": ("type", "supervised"),
    "method.supervised": ("hyperparameters",),
    "method.supervised.hyperparameters": (*OPENAI_PLACES, *OPTIONS),
    "hyperparameters": (*OPENAI_PLACES, *OPTIONS),
}


def parse(body: Mapping[str, Any]) -> JobRequest:
    """Check a client's JSON object. Raises InvalidRequest with `param` set."""
    if not isinstance(body, Mapping):
        raise InvalidRequest("the body must be a JSON object")
    _check_text(body)
    _check_names(body)
    given = {name: value for name, value in body.items() if value is not None}
    _check_offered(given)
    if "validation_split" in given and "validation_file" in given:
        message = "validation_split would do nothing beside a validation_file, whose rows are held out; leave it out"
        raise InvalidRequest(message, param="validation_split")
    given["training"] = _settings(given)
    try:
        request = msgspec.convert(given, JobRequest)
    except msgspec.ValidationError as error:
        raise _wrong_type(error) from None
    limits.check(request)
    return request


def _check_text(body: Mapping[str, Any]) -> None:
    """Text that no database can hold is nobody's name for anything."""
    try:
        text = json.dumps(body, ensure_ascii=False, allow_nan=False)
        text.encode()
    except (UnicodeEncodeError, ValueError, RecursionError, TypeError):
        raise InvalidRequest("the body holds half a character (a lone surrogate), a NaN or an infinity") from None
    if NUL.search(text):
        raise InvalidRequest("the body holds a NUL character")


def _check_names(body: Mapping[str, Any]) -> None:
    for place, known in KNOWN.items():
        here = _at(body, place)
        for name in here if isinstance(here, Mapping) else ():
            if name not in known:
                raise _unknown(f"{place}.{name}".lstrip("."), str(name), known)


def _unknown(where: str, name: str, known: tuple[str, ...]) -> InvalidRequest:
    hint = did_you_mean(name, known, f"; known here are {', '.join(known)}")
    return InvalidRequest(f"{where!r} is not a known field{hint}", code="unknown_field", param=where)


def _at(body: Mapping[str, Any], place: str) -> Any:
    here: Any = body
    for name in filter(None, place.split(".")):
        here = here.get(name) if isinstance(here, Mapping) else None
    return here


def _check_offered(given: dict[str, Any]) -> None:
    """What other services offer and this one does not; an empty wish for it is none."""
    kind = _at(given, "method.type")
    if kind not in (None, "supervised"):
        message = f"method {kind!r} is not offered; 'supervised' is"
        raise InvalidRequest(message, code="unsupported_method", param="method.type")
    if not isinstance(_at(given, "method.supervised") or {}, Mapping):
        raise InvalidRequest("method.supervised must be an object", param="method.supervised")
    if given.get("integrations"):
        message = "integrations are not offered; the job's events carry every figure"
        raise InvalidRequest(message, code="unsupported_integration", param="integrations")
    if given.pop("resources", None):
        message = "resources are not offered: a training has those of its worker (OSTINATO_THREADS, OSTINATO_DEVICE)"
        raise InvalidRequest(message, code="unsupported_resources", param="resources")


def _settings(given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of all three places in one; "auto" is the same as absent. The places must not disagree."""
    merged: dict[str, Any] = {}
    places: dict[str, str] = {}
    for place in ("training", "method.supervised.hyperparameters", "hyperparameters"):
        found = _at(given, place)
        if found is not None and not isinstance(found, Mapping):
            raise InvalidRequest(f"{place} must be an object", param=place)
        for theirs, value in (found or {}).items():
            name, where = OPENAI_PLACES.get(str(theirs), str(theirs)), f"{place}.{theirs}"
            if value is None or value == "auto":
                continue
            if merged.setdefault(name, value) != value:
                raise InvalidRequest(f"{where} says {value!r}, but {places[name]} says {merged[name]!r}", param=where)
            places.setdefault(name, where)
    return merged


def _wrong_type(error: msgspec.ValidationError) -> InvalidRequest:
    """From "Expected `int`, got `str` - at `$.training.epochs`" to a complaint about that field."""
    what, _, place = str(error).partition(" - at `")
    param = place.rstrip("`").removeprefix("$").lstrip(".") or None
    if param is None and "missing required field" in what:
        param = what.rpartition("field `")[2].rstrip("`")
        return InvalidRequest(f"{param!r} is missing", code="missing_field", param=param)
    return InvalidRequest(f"{param or 'the body'}: {what[:1].lower()}{what[1:]}".replace("`", ""), param=param)
