"""The rules for the fields of a training request.

The checks do not need files or tables, so the client receives an immediate error instead of a job that fails later. The
rules for the options in `training` are in `app.wire.training_rules`; the trainer applies them too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from msgspec import UnsetType

from app.errors import InvalidRequest
from app.jobs.request import JobRequest
from app.wire import training_memory as memory
from app.wire import training_rules as rules
from app.wire.ranges import OptionError
from app.wire.trainer import AUTO
from app.wire.training_rules import TrainingKind
from models.choices import TRAINABLE

MAX_SEED = 2**31 - 1
MAX_VERSION = 10**9 - 1
MODEL_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
FILE_ID = re.compile(r"file-[A-Za-z0-9_-]{1,34}")
PAIR_LIMIT, KEY_LIMIT, VALUE_LIMIT = 16, 64, 512  # number of metadata pairs, and lengths of keys and values


def check(request: JobRequest) -> None:
    """Check all rules that do not depend on the database. Raises InvalidRequest with `param` set."""
    _check_scalars(request)
    _check_file_ids(request)
    check_metadata(request.metadata or {})
    _check_expected_version(request)
    scratch = request.from_scratch
    architecture = request.model if scratch and request.model != AUTO else None
    kind = TrainingKind(architecture, request.task, tuned=not scratch)
    _name_field(lambda: rules.check(request.training, kind))


def check_base(config: Mapping[str, Any], request: JobRequest) -> None:
    """Check a fine-tuning request against its base model, whose dimensions the request must not change.

    Raises InvalidRequest with `param` set.
    """
    kind = TrainingKind(config.get("architecture"), request.task, config.get("input"), tuned=True)
    _name_field(lambda: rules.check(request.training, kind))
    _name_field(lambda: rules.check_base(request.training, config))


def check_memory(request: JobRequest, base: Mapping[str, Any] | None, limit: int) -> None:
    """Reject a request if the weights alone are certain to need more than `limit` bytes during training.

    `base` is the configuration of the version to fine-tune. Raises InvalidRequest with `param` set.
    """
    options = request.training
    if base is None:
        needed, param = memory.least_memory(request.model, request.task, options), "training.width"
    else:
        needed, param = memory.tuned_memory(base, options), "model"
    if message := memory.check_weights(needed, limit):
        raise InvalidRequest(message, code=memory.INSUFFICIENT, param=param)


def to_model_name(text: str, param: str) -> str:
    """Convert a client's string to a model name: lower case, with "-" in place of characters that names cannot contain.

    Raises InvalidRequest with the given `param` if the string contains no letters or digits.
    """
    name = re.sub(r"[^a-z0-9._-]", "-", text.lower()).lstrip("._-")[:64]
    if not MODEL_NAME.fullmatch(name):
        raise _invalid(param, f"{text!r} contains no letters or digits, so it cannot be turned into a model name")
    return name


def _name_field(check_options: Callable[[], None]) -> None:
    try:
        check_options()
    except OptionError as error:
        raise InvalidRequest(str(error), param=f"training.{error.field}") from None


def _check_scalars(request: JobRequest) -> None:
    if not 1 <= len(request.model) <= 128:
        raise _invalid("model", "must have 1 to 128 characters")
    if request.suffix is not None and not 1 <= len(request.suffix) <= 64:
        raise _invalid("suffix", "must have 1 to 64 characters")
    if request.publish.name is not None and not 1 <= len(request.publish.name) <= 64:
        raise _invalid("publish.name", "must have 1 to 64 characters")
    if request.seed is not None and not 0 <= request.seed <= MAX_SEED:
        raise _invalid("seed", f"must be from 0 to {MAX_SEED}")
    if request.task is not None and request.task not in TRAINABLE:
        raise _invalid("task", f"must be one of {', '.join(TRAINABLE)}, not {request.task!r}")
    if not 0 < request.validation_split < 1:
        raise _invalid("validation_split", "must be above 0 and below 1")
    if not -1000 <= request.priority <= 1000:
        raise _invalid("priority", "must be from -1000 to 1000")


def _check_file_ids(request: JobRequest) -> None:
    for param in ("training_file", "validation_file"):
        value = getattr(request, param)
        if value is not None and not FILE_ID.fullmatch(value):
            raise _invalid(param, f"must be the id of an uploaded file (file-…), not {value[:80]!r}")


def check_metadata(metadata: Mapping[str, str]) -> None:
    """Check the number of metadata pairs and the lengths of keys and values. Raises InvalidRequest with `param` set."""
    if len(metadata) > PAIR_LIMIT:
        raise _invalid("metadata", f"can have at most {PAIR_LIMIT} pairs, not {len(metadata)}")
    for key, value in metadata.items():
        if not 1 <= len(key) <= KEY_LIMIT:
            raise _invalid("metadata", f"keys must have 1 to {KEY_LIMIT} characters; {key[:70]!r} has {len(key)}")
        if len(value) > VALUE_LIMIT:
            raise _invalid(f"metadata.{key}", f"must have at most {VALUE_LIMIT} characters, not {len(value)}")


def _check_expected_version(request: JobRequest) -> None:
    expected = request.publish.expected_version
    if isinstance(expected, UnsetType):
        return
    if request.publish.alias is None:
        raise _invalid("publish.expected_version", "requires publish.alias, which is missing")
    if expected is not None and not 1 <= expected <= MAX_VERSION:
        raise _invalid("publish.expected_version", f"must be from 1 to {MAX_VERSION}, or null if the alias is new")


def _invalid(param: str, problem: str) -> InvalidRequest:
    return InvalidRequest(f"{param} {problem}", param=param)
