"""Converts a trainer's events to its job's events and progress."""

from __future__ import annotations

import errno
import signal
from collections.abc import Iterable
from typing import Any

from app import disk_errors
from app.jobs.records import CHECKPOINT, METRICS, JobProgress, NewEvent
from app.wire import shortage
from app.wire.trainer import CheckpointSaved, Metrics, Note, Phase, TrainEvent

PHASES = {
    "validating_files": "Validating the training file",
    "training": "Files validated, training started",
    "evaluating": "Evaluating on the held-out rows",
    "publishing": "Training ended, publishing the version",
}
EVALUATION_PHASES = {
    "validating_files": "Validating the file",
    "evaluating": "Evaluating on the file",
}
LEVELS = ("info", "warn", "error")
LOSSES = {"train_loss": "training loss", "valid_loss": "validation loss", "full_valid_loss": "full validation loss"}
KIND_CHARACTERS, PHASE_CHARACTERS = 40, 20  # the widths of columns in the database


def to_event(event: TrainEvent, *, evaluation: bool = False) -> NewEvent | None:
    """Convert an event from a training run or, if `evaluation` is set, from an evaluation.

    Returns None for the trainer's last event, which determines the job's next state.
    """
    match event:
        case Phase(phase):
            message = (EVALUATION_PHASES if evaluation else PHASES).get(phase, phase)
            return NewEvent(kind=f"phase.{phase}"[:KIND_CHARACTERS], step=0, message=message)
        case Note(kind, step, level, message, data):
            level = level if level in LEVELS else "info"
            return NewEvent(kind=kind[:KIND_CHARACTERS], step=step, level=level, message=clean(message), data=data)
        case Metrics():
            # The final metrics have a separate kind: events are unique by (kind, step), and there may already be an
            # event of the kind "metrics" for the last step.
            kind = "metrics.final" if event.final else "metrics"
            return NewEvent(kind=kind, step=event.step, type=METRICS, message=_summary(event), data=_data(event))
        case CheckpointSaved(step):
            return NewEvent(kind=CHECKPOINT, step=step, message=f"Checkpoint created at step {step}")
    return None


def to_progress(events: Iterable[TrainEvent], settled: dict[str, Any] | None = None) -> JobProgress:
    """Return the job's progress after these events."""
    phase: str | None = None
    last: Metrics | None = None
    for event in events:
        if isinstance(event, Phase):
            phase = event.phase[:PHASE_CHARACTERS]
        elif isinstance(event, Metrics):
            last = event
    if last is None:
        return JobProgress(phase=phase, settled=settled)
    return JobProgress(
        phase=phase,
        progress=last.progress,
        seconds_left=last.seconds_left,
        trained_tokens=last.trained_tokens,
        settled=settled,
    )


def lost_checkpoint(step: int) -> NewEvent:
    """Return the event for a checkpoint that could not be stored."""
    message = f"The checkpoint of step {step} could not be stored"
    return NewEvent(kind="checkpoint.lost", step=step, level="warn", message=message)


def describe_error(error: OSError) -> str:
    """Describe an error on the worker's machine. Omits paths, because clients can see the description."""
    if error.errno in disk_errors.FULL:
        return "the disk of the worker's machine is full"
    if error.errno == errno.EIO:
        return "the disk of the worker's machine reports errors (EIO)"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "the worker has no permission to use a file of the training run"
    name = errno.errorcode.get(error.errno or 0, type(error).__name__)
    return f"a file or a program of the training run failed ({name})"


def changes_settings(event: TrainEvent) -> bool:
    """Whether the event reports a change of the run's settings, which are otherwise determined only once."""
    return isinstance(event, Note) and event.kind == shortage.NOTE


def describe_exit(code: int) -> str:
    """Describe how a process ended, given the exit code from `subprocess`."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"


def clean(message: str) -> str:
    """Replace characters that a database cannot store: NUL characters and lone surrogates."""
    return message.replace("\x00", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()


def _data(event: Metrics) -> dict[str, Any]:
    names = ("step", "total_steps", "progress", "seconds_left")
    return {name: getattr(event, name) for name in names} | dict(event.data)


def _summary(event: Metrics) -> str:
    step = f"Step {event.step}/{event.total_steps}" if event.total_steps else f"Step {event.step}"
    losses = [f"{text}={event.data[name]:.4f}" for name, text in LOSSES.items() if event.data.get(name) is not None]
    return f"{step}: {', '.join(losses)}" if losses else step
