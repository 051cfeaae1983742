"""Converts engines' failure codes to exceptions."""

from __future__ import annotations

from app.errors import CheckpointInvalid, DeadlineExceeded, EngineFailed, InvalidRequest, OstinatoError, Unavailable
from app.wire import engine as wire

NOT_LOADED = "model_not_loaded"  # the engine has unloaded the version since its last report

CLASSES: dict[str, type[OstinatoError]] = {
    "engine_lost": Unavailable,
    "unavailable": Unavailable,
    NOT_LOADED: Unavailable,
    "out_of_memory": Unavailable,
    "deadline_exceeded": DeadlineExceeded,
    "invalid_request": InvalidRequest,
    "context_length_exceeded": InvalidRequest,
    "wrong_task": InvalidRequest,
}


def failure(code: str, message: str) -> OstinatoError:
    """Return the exception for a failure code. An unknown code becomes EngineFailed, which should not be retried."""
    kind = CLASSES.get(code, EngineFailed)
    if code == CheckpointInvalid.code:
        kind = EngineFailed  # not the client's fault: the stored checkpoint is invalid
    return kind(message, code=code, retry_after=1.0 if kind is Unavailable else None)


def not_loaded(answer: object) -> bool:
    """Whether an answer reports that the engine has unloaded the version. The request may then be sent again."""
    return isinstance(answer, wire.Failed) and answer.code == NOT_LOADED


def of(message: wire.Failed) -> OstinatoError:
    """Return the exception for a Failed message."""
    return failure(message.code, message.message)
