"""What an engine's failure code means to a caller. Knows codes and error classes."""

from __future__ import annotations

from app.errors import CheckpointInvalid, DeadlineExceeded, EngineFailed, InvalidRequest, OstinatoError, Unavailable
from app.wire import engine as wire

NOT_LOADED = "model_not_loaded"  # the version had to make room for another since it was last heard of

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
    """An error to raise. What an engine cannot name is a fault of ours, and trying again does not help."""
    kind = CLASSES.get(code, EngineFailed)
    if code == CheckpointInvalid.code:
        kind = EngineFailed  # the client's request was right: what is stored here is not
    return kind(message, code=code, retry_after=1.0 if kind is Unavailable else None)


def not_loaded(answer: object) -> bool:
    return isinstance(answer, wire.Failed) and answer.code == NOT_LOADED


def of(message: wire.Failed) -> OstinatoError:
    return failure(message.code, message.message)
