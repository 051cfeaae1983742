"""From what a trainer says to what a job's log and row say. Plain functions over plain data."""

from __future__ import annotations

import errno
import signal
from collections.abc import Iterable
from typing import Any

from app.jobs.records import JobProgress, NewEvent
from app.wire.trainer import CheckpointSaved, Metrics, Note, Phase, TrainEvent

PHASES = {
    "validating_files": "Validating the training file",
    "training": "Files validated, training started",
    "evaluating": "Evaluating the best checkpoint",
    "publishing": "Training ended, publishing the version",
}
LEVELS = ("info", "warn", "error")
KIND_CHARACTERS = 40


def line(event: TrainEvent) -> NewEvent | None:
    """The log's line for an event; None for last words, which the job's end tells itself."""
    match event:
        case Phase(phase):
            return NewEvent(kind=f"phase.{phase}"[:KIND_CHARACTERS], step=0, message=PHASES.get(phase, phase))
        case Note(kind, step, level, message, data):
            shown = level if level in LEVELS else "info"
            return NewEvent(kind=kind[:KIND_CHARACTERS], step=step, level=shown, message=clean(message), data=data)
        case Metrics():
            kind = "metrics.final" if event.final else "metrics"
            return NewEvent(kind=kind, step=event.step, type="metrics", message=_figures(event), data=_data(event))
        case CheckpointSaved(step):
            return NewEvent(kind="checkpoint", step=step, message=f"Checkpoint created at step {step}")
    return None


def lines(events: Iterable[TrainEvent]) -> list[NewEvent]:
    return [said for event in events if (said := line(event)) is not None]


def progress(events: Iterable[TrainEvent], settled: dict[str, Any] | None = None) -> JobProgress:
    """How far the job is after these events."""
    phase: str | None = None
    last: Metrics | None = None
    for event in events:
        if isinstance(event, Phase):
            phase = event.phase[:20]
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
    message = f"The checkpoint of step {step} could not be kept"
    return NewEvent(kind="checkpoint.lost", step=step, level="warn", message=message)


def fault_words(error: OSError) -> str:
    """What the machine could not do, for people: without its paths."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "the disk of the worker's machine is full"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "the worker's machine did not let a file of the run be used"
    return f"a file or a program of the run failed ({errno.errorcode.get(error.errno or 0, type(error).__name__)})"


def exit_words(code: int) -> str:
    """How a process ended, for people."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"


def _data(event: Metrics) -> dict[str, Any]:
    """The figures, and how far the training is."""
    names = ("step", "total_steps", "progress", "seconds_left")
    return {name: getattr(event, name) for name in names} | dict(event.data)


def _figures(event: Metrics) -> str:
    where = f"Step {event.step}/{event.total_steps}" if event.total_steps else f"Step {event.step}"
    names = {"train_loss": "training loss", "valid_loss": "validation loss", "full_valid_loss": "full validation loss"}
    told = [f"{words}={event.data[name]:.4f}" for name, words in names.items() if event.data.get(name) is not None]
    return f"{where}: {', '.join(told)}" if told else where


def clean(message: str) -> str:
    """Text that every database can hold."""
    return message.replace("\x00", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()
