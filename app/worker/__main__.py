"""The worker's entry point: `python -m app.worker`."""

from __future__ import annotations

import argparse
import logging
import os
import shlex
import signal
import sys
import threading

from app import settings as setting
from app import telemetry
from app.runs.trainer import TRAINER
from app.worker.resources import Resources
from app.worker.worker import BATCHES, TRAINING, Worker, default_name

log = logging.getLogger(__name__)


def main() -> int:
    """Run a worker until SIGTERM or SIGINT; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m app.worker", description="Run training jobs and batches, one of each at a time."
    )
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
    lanes = [Worker(resources, arguments.worker_name, lane) for lane in (TRAINING, BATCHES)]
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop(lanes))
    return run(lanes)


def stop(lanes: list[Worker]) -> None:
    """Stop all lanes. May be called from a signal handler."""
    for lane in lanes:
        lane.stop()


def run(lanes: list[Worker]) -> int:
    """Run all lanes until they are stopped, and return the exit code.

    If a lane ends because of a defect, the other lanes are stopped too, so that the launcher restarts the worker.
    """
    failed: list[Worker] = []

    def run_lane(lane: Worker) -> None:
        try:
            lane.run()
        except Exception:
            log.exception("a lane of the worker ended with an unexpected error")
            failed.append(lane)
        finally:
            stop(lanes)

    others = [threading.Thread(target=run_lane, args=(lane,), name="lane") for lane in lanes[1:]]
    for thread in others:
        thread.start()
    run_lane(lanes[0])
    for thread in others:
        thread.join()
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
