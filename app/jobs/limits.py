"""What a training request may say, field by field. Knows ranges and names; reads nothing.

What cannot work is refused here, before any file is read: a person hears of it at once, not in a failed job. The rules
of `training` itself are in `app/options.py`, for the trainer has the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from msgspec import UnsetType

from app.errors import InvalidRequest
from app.jobs.request import JobRequest
from app.wire import training_rules as options
from app.wire.training_rules import OptionError, TrainingKind
from models.config import TASKS

SEEDS = 2**31 - 1
VERSIONS = 10**9 - 1
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
FILE_ID = re.compile(r"file-[A-Za-z0-9_-]{1,34}")


def check(request: JobRequest) -> None:
    """Everything that can be said without looking anything up. Raises InvalidRequest with `param` set."""
    _check_head(request)
    _check_files(request)
    _check_metadata(request.metadata or {})
    _check_expected(request)
    scratch = request.from_scratch
    kind = TrainingKind(request.model if scratch else None, request.task, tuned=not scratch)
    _refuse(lambda: options.check(request.training, kind))


def check_base(config: Mapping[str, Any], request: JobRequest) -> None:
    """Fine-tuning keeps the shape of the base, whose configuration is given."""
    kind = TrainingKind(config.get("architecture"), request.task, config.get("input"), tuned=True)
    _refuse(lambda: options.check(request.training, kind))
    _refuse(lambda: options.check_base(request.training, config))


def _refuse(checked: Callable[[], None]) -> None:
    try:
        checked()
    except OptionError as error:
        raise InvalidRequest(str(error), param=f"training.{error.field}") from None


def _check_expected(request: JobRequest) -> None:
    expected = request.publish.expected_version
    if isinstance(expected, UnsetType):
        return
    if request.publish.alias is None:
        raise _wrong("publish.expected_version", "belongs to an alias; publish.alias is missing")
    if expected is not None and not 1 <= expected <= VERSIONS:
        raise _wrong("publish.expected_version", f"must be from 1 to {VERSIONS}, or null for an alias that is new")


def _check_head(request: JobRequest) -> None:
    if not 1 <= len(request.model) <= 128:
        raise _wrong("model", "must have 1 to 128 characters")
    if request.suffix is not None and not 1 <= len(request.suffix) <= 64:
        raise _wrong("suffix", "must have 1 to 64 characters")
    if request.publish.name is not None and not 1 <= len(request.publish.name) <= 64:
        raise _wrong("publish.name", "must have 1 to 64 characters")
    if request.seed is not None and not 0 <= request.seed <= SEEDS:
        raise _wrong("seed", f"must be from 0 to {SEEDS}")
    if request.task is not None and request.task not in TASKS:
        raise _wrong("task", f"can be {', '.join(TASKS)}, not {request.task!r}")
    if not 0 < request.validation_split < 1:
        raise _wrong("validation_split", "must be above 0 and below 1")
    if not -1000 <= request.priority <= 1000:
        raise _wrong("priority", "must be from -1000 to 1000")


def _check_files(request: JobRequest) -> None:
    for param in ("training_file", "validation_file"):
        value = getattr(request, param)
        if value is not None and not FILE_ID.fullmatch(value):
            raise _wrong(param, f"must be the id of an uploaded file (file-…), not {value[:80]!r}")


def _check_metadata(metadata: Mapping[str, str]) -> None:
    if len(metadata) > 16:
        raise _wrong("metadata", f"can have 16 pairs at most, not {len(metadata)}")
    for key, value in metadata.items():
        if not 1 <= len(key) <= 64:
            raise _wrong("metadata", f"keys have 1 to 64 characters; {key[:70]!r} has {len(key)}")
        if len(value) > 512:
            raise _wrong(f"metadata.{key}", f"values have 512 characters at most, not {len(value)}")


def publish_name(text: str, param: str) -> str:
    """A model name made of what a person wrote: lower-cased, other characters become '-'."""
    name = re.sub(r"[^a-z0-9._-]", "-", text.lower()).lstrip("._-")[:64]
    if not NAME.fullmatch(name):
        raise _wrong(param, f"{text!r} holds no letter or digit to make a model name of")
    return name


def _wrong(param: str, what: str) -> InvalidRequest:
    return InvalidRequest(f"{param} {what}", param=param)
