"""The exceptions that end a training run early, and predicates that classify unexpected errors."""

from __future__ import annotations

from collections.abc import Callable

from app import disk_errors
from app.errors import OstinatoError

Check = Callable[[], None]  # called between pieces of work; raises if the work must stop


class TrainingFailure(Exception):
    """The training run cannot continue, and a retry would fail in the same way.

    `code` and `param` (the invalid request field) are machine-readable. `message` tells users what the problem is,
    where it is, and how to correct it.
    """

    def __init__(self, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.param = param


class BadData(TrainingFailure):
    """A data file has content that cannot be used. `Source.fault` creates this error, with the name of the file in its
    message.

    `where` is the place, such as ('line 7', "column 'label'"); `reason` is the message without the file and the place.
    """

    def __init__(
        self,
        message: str,
        param: str | None = None,
        file: str = "training_file",
        *,
        where: tuple[str, ...] = (),
        reason: str = "",
    ) -> None:
        super().__init__(f"invalid_{file}", message, param or file)
        self.file, self.where, self.reason = file, where, reason or message


class BadOption(TrainingFailure):
    """A setting in the request cannot be used. `field` is the full name of the setting, such as `training.heads`."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__("invalid_hyperparameter", f"{field}: {message}", field)


def diverged(symptom: str, learning_rate: float) -> TrainingFailure:
    """Return the failure for a training run that has diverged. `symptom` describes how the divergence was detected."""
    advice = f"use a learning rate below {learning_rate:g}, or a smaller max_grad_norm"
    return TrainingFailure("diverged", f"{symptom}: the training run has diverged; {advice}", "training.learning_rate")


class StopRequested(Exception):
    """The worker has asked the trainer to save its progress and stop."""


def is_data_error(error: Exception) -> bool:
    """Whether bad data probably caused an error. False for deliberate errors, I/O errors and memory errors."""
    deliberate_or_io = (TrainingFailure, StopRequested, OstinatoError, OSError)
    of_the_machine = is_memory_error(error) or disk_errors.awaited(error) is not None
    return not isinstance(error, deliberate_or_io) and not of_the_machine


def is_memory_error(error: BaseException) -> bool:
    """Whether a lack of memory caused an error: it is a MemoryError, or has the message of a torch allocator."""
    text = str(error).lower()
    named = any(words in text for words in ("not enough memory", "out of memory", "can't allocate memory"))
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and named)
