"""The trainer program: `python -m app.training RUN_DIR --events-fd N --lease-seconds S`.

Exit code 0 after its last word (Done, Stopped, TrainFailed), 1 where something unforeseen came before it (the last word
is Broke then, or TrainFailed where it came again), 75 where the lease ended; anything else is a lost attempt.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import sys
from pathlib import Path
from types import FrameType

from app import telemetry
from app.settings import quick_imports, share_the_machine
from app.training.run import lease

log = logging.getLogger("app.training")
NICENESS = 10  # requests that wait for an answer go first


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m app.training", description=__doc__)
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("--events-fd", type=int, help="file descriptor for events, one JSON line each")
    parser.add_argument(
        "--lease-seconds", type=float, default=0.0, help="silence on standard input that ends it; 0: none"
    )
    parser.add_argument("--resume-every", type=float, default=15.0, help="seconds between two resume points")
    parser.add_argument("--threads", type=int, default=0, help="where the request names none; 0: one a core")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--request-id", default="", help="of the HTTP request that asked for the job, for the log")
    parser.add_argument("--job-id", default="", help="for the log")
    parser.add_argument("--log-format", default="text", choices=("text", "json"))
    parser.add_argument("--log-level", default="info", choices=("debug", "info", "warning", "error"))
    given = parser.parse_args(arguments)
    telemetry.setup("trainer", given.log_format, given.log_level)
    with telemetry.about(given.request_id, given.job_id):
        return train(given)


def train(given: argparse.Namespace) -> int:
    lease.watch(sys.stdin.fileno() if given.lease_seconds else -1, given.lease_seconds)
    stop = _Stop()
    signal.signal(signal.SIGTERM, stop)
    _step_back()
    share_the_machine()
    with quick_imports():  # which take seconds all the same; the lease is being watched already
        from app.training.events import Events
        from app.training.run.session import Machine, Session

    machine = Machine(given.resume_every, given.threads, given.device)
    session = Session(given.run_dir.resolve(), Events(given.events_fd), stop.asked, machine)
    try:
        session.attempt()
    except Exception as error:
        log.exception("the training broke off")
        session.break_off(error)
        return 1
    return 0


def _step_back() -> None:
    """Be nice, and let the whole session be so: Linux shares cores among sessions (its autogroups) before it looks at
    the niceness of their processes."""
    os.nice(NICENESS)
    if os.getsid(0) == os.getpid():  # else it is the session of whoever typed the command
        with contextlib.suppress(OSError):  # a system without autogroups
            Path("/proc/self/autogroup").write_text(str(NICENESS))


class _Stop:
    """SIGTERM, remembered: it is obeyed between two steps."""

    def __init__(self) -> None:
        self._asked = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self._asked = True

    def asked(self) -> bool:
        return self._asked


if __name__ == "__main__":
    sys.exit(main())
