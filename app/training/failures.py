"""What ends a training before its time. Knows codes and messages; knows no transport."""

from __future__ import annotations

from app.errors import OstinatoError


class TrainingFailure(Exception):
    """The training cannot go on, and trying the same again would not help.

    `code` and `param` are for programs, `message` for people: what was wrong, where, and what would be right.
    """

    def __init__(self, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.param = param


class BadData(TrainingFailure):
    """The content of a data file is at fault. `Source.fault` makes them, and says which file it was."""

    def __init__(self, message: str, param: str | None = None, file: str = "training_file") -> None:
        super().__init__(f"invalid_{file}", message, param or file)


class BadOption(TrainingFailure):
    """A setting of the request cannot be met; `field` is its full name, like `training.heads`."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__("invalid_hyperparameter", f"{field}: {message}", field)


def diverged(said: str, learning_rate: float) -> TrainingFailure:
    """The training has gone off for good; `said`: by what it shows."""
    advice = f"use a learning rate below {learning_rate:g}, or a smaller max_grad_norm"
    return TrainingFailure("diverged", f"{said}: the training has diverged; {advice}", "training.learning_rate")


class StopRequested(Exception):
    """The worker asked for an orderly end."""


def by_data(error: Exception) -> bool:
    """Whether what nobody foresaw comes of what the data says: not of the machine, nor of ourselves."""
    return not isinstance(error, (TrainingFailure, StopRequested, OstinatoError, OSError)) and not by_memory(error)


def by_memory(error: BaseException) -> bool:
    """Whether there was not enough memory, however that is said."""
    text = str(error).lower()
    told = any(words in text for words in ("not enough memory", "out of memory", "can't allocate memory"))
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and told)
