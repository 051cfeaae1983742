"""The worker's entry point: `python -m app.worker`."""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys

from app import settings as setting
from app import telemetry
from app.runs.trainer import TRAINER
from app.worker.resources import Resources
from app.worker.worker import Worker, default_name


def main() -> int:
    """Run a worker until SIGTERM or SIGINT; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m app.worker", description="Run training jobs, one at a time.")
    parser.add_argument(
        "--worker-name",
        default=default_name(),
        help="the worker's name, which is stored with the lease of each job that it claims",
    )
    parser.add_argument("--trainer", type=shlex.split, default=list(TRAINER), help="the command that starts a trainer")
    arguments = parser.parse_args()
    try:
        settings = setting.load()
        telemetry.setup("worker", settings.log_format, settings.log_level)
        resources = Resources.of(settings, os.environ, arguments.trainer)
    except setting.SettingError as error:
        print(f"ostinato worker: {error.message}", file=sys.stderr)
        return setting.REFUSED
    worker = Worker(resources, arguments.worker_name)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: worker.stop())
    worker.run()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
