"""The trainer program: `python -m app.training RUN_DIR --events-fd N --lease-seconds S`.

Starts a training run if RUN_DIR contains run.json, or an evaluation if it contains evaluation.json. With `--estimate`,
the training run is only planned and timed.

Exit codes:

- 0: the last event is Done, Planned, Evaluated, Estimated, Stopped or TrainFailed.
- 1: an unexpected error occurred. The last event is Broke, or TrainFailed for a repeated error.
- 74: the disk is full or has failed.
- 75: the lease expired.

Any other exit code means that the attempt was lost.
"""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Protocol

from app import disk_errors, telemetry
from app.process_tuning import quick_imports, share_the_machine
from app.runs import priority
from app.settings import installed_memory
from app.training.run import lease, limits, sandbox

if TYPE_CHECKING:
    from app.wire.trainer import TrainEvent

log = logging.getLogger("app.training")
MIB = 2**20


class _Attempt(Protocol):
    """An attempt at a training run or at an evaluation."""

    def attempt(self) -> TrainEvent: ...

    def break_off(self, error: Exception) -> TrainEvent: ...


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m app.training", description=__doc__)
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("--events-fd", type=int, help="file descriptor for events, one JSON line each")
    parser.add_argument(
        "--lease-seconds",
        type=float,
        default=0.0,
        help="exit if standard input receives no data for this number of seconds; 0: never",
    )
    parser.add_argument("--resume-every", type=float, default=15.0, help="seconds between resume points")
    parser.add_argument(
        "--threads", type=int, default=0, help="number of threads if the request does not set it; 0: one per core"
    )
    parser.add_argument(
        "--memory",
        type=int,
        default=0,
        help="MiB of memory that the run may use; 0: all memory of the machine or of the GPU",
    )
    parser.add_argument(
        "--processor-seconds", type=int, default=0, help="seconds of processor time after which the run fails; 0: never"
    )
    parser.add_argument("--estimate", action="store_true", help="plan the run and time a few steps, without training")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument(
        "--request-id", default="", help="id of the HTTP request that created the job, which is added to log lines"
    )
    parser.add_argument("--job-id", default="", help="id of the job, which is added to log lines")
    parser.add_argument("--log-format", default="text", choices=("text", "json"))
    parser.add_argument("--log-level", default="info", choices=("debug", "info", "warning", "error"))
    options = parser.parse_args(arguments)
    telemetry.setup("trainer", options.log_format, options.log_level)
    with telemetry.about(options.request_id, options.job_id):
        return train(options)


def train(options: argparse.Namespace) -> int:
    """Run one attempt at a training run, an evaluation or a dry run, and return the exit code."""
    started = time.monotonic()
    lease.watch(sys.stdin.fileno() if options.lease_seconds else -1, options.lease_seconds)
    stop = _StopSignal()
    signal.signal(signal.SIGTERM, stop)
    priority.lower()
    limits.confine(options.memory * MIB or installed_memory(), options.processor_seconds)
    sandbox.enter(options.run_dir, options.device)
    share_the_machine()
    # Importing torch takes seconds, so it is imported only after the lease is watched and SIGTERM is handled.
    with quick_imports():
        from app.training.events import Events
        from app.training.run.estimate import EstimateSession
        from app.training.run.evaluation import SPEC, EvaluationSession
        from app.training.run.preparation import Machine
        from app.training.run.session import Session

    machine = Machine(options.resume_every, options.threads, options.device, options.memory * MIB)
    if machine.settled_device() == "cpu":
        limits.limit_memory(machine.memory_limit("cpu"))
    run, events = options.run_dir.resolve(), Events(options.events_fd)
    session: _Attempt
    if options.estimate:
        session = EstimateSession(run, events, stop.received, machine, started)
    else:
        kind = EvaluationSession if (run / SPEC).exists() else Session
        session = kind(run, events, stop.received, machine)
    try:
        session.attempt()
    except Exception as error:
        log.exception("an unexpected error ended the attempt")
        return _break_off(session, error)
    return 0


def _break_off(session: _Attempt, error: Exception) -> int:
    """Report an unexpected error and return the exit code.

    If the disk is full, reporting the error may also fail. In this case, only the exit code identifies the cause.
    """
    try:
        session.break_off(error)
    except OSError as second:
        log.exception("the error could not be reported")
        return disk_errors.EXIT_CODE if disk_errors.awaited(second) else 1
    return disk_errors.EXIT_CODE if disk_errors.awaited(error) else 1


class _StopSignal:
    """Records SIGTERM.

    The session checks for the signal between steps. After the signal, the session saves a resume point and stops.
    """

    def __init__(self) -> None:
        self._received = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self._received = True

    def received(self) -> bool:
        return self._received


if __name__ == "__main__":
    sys.exit(main())
