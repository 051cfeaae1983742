"""The batch program: `python -m app.batches RUN_DIR --lease-seconds S`, which a worker starts for a batch.

Exit codes: 0 when all requests are answered or after SIGTERM, 74 if the disk is full or has failed, 75 if the lease
expired. Any other exit code means that the attempt was lost.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
from pathlib import Path

import msgspec

from app import disk_errors, telemetry
from app import settings as setting
from app.runs import priority
from app.training.run import lease
from app.wire.batch import SPEC, WINDOW_SECONDS, BatchSpec

log = logging.getLogger("app.batches")


def main(arguments: list[str] | None = None) -> int:
    """Answer the requests of a batch, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m app.batches", description=__doc__)
    parser.add_argument("run_dir", type=Path)
    parser.add_argument(
        "--lease-seconds",
        type=float,
        default=0.0,
        help="exit if standard input receives no data for this number of seconds; 0: never",
    )
    parser.add_argument("--request-id", default="", help="id of the HTTP request that created the batch")
    parser.add_argument("--job-id", default="", help="id of the batch, which is added to log lines")
    options = parser.parse_args(arguments)
    try:
        settings = setting.load()
    except setting.SettingError as error:
        print(f"ostinato batch program: {error.message}", file=sys.stderr)
        return setting.REFUSED
    telemetry.setup("batch", settings.log_format, settings.log_level)
    lease.watch(sys.stdin.fileno() if options.lease_seconds else -1, options.lease_seconds)
    priority.lower()
    with telemetry.about(options.request_id, options.job_id):
        try:
            asyncio.run(answer(options.run_dir.resolve(), settings))
        except OSError as error:
            log.exception("the batch was interrupted")
            return disk_errors.EXIT_CODE if disk_errors.awaited(error) else 1
    return 0


async def answer(run: Path, settings: setting.Settings) -> None:
    """Answer the requests in a run directory with this machine's engines."""
    # Importing the routes takes a second, so they are imported only after the lease is watched.
    from app.api.http.services import build_services
    from app.batches.answering import BatchAnswering
    from app.batches.routes import BatchRoutes

    spec = msgspec.json.decode((run / SPEC).read_bytes(), type=BatchSpec)
    # A busy service may have no time for background requests for hours, so each request has the time limit of the whole
    # batch.
    services = build_services(msgspec.structs.replace(settings, request_timeout=WINDOW_SECONDS), background=True)
    answering = BatchAnswering(run, BatchRoutes(services, spec.owner))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, answering.stop)
    await services.inference.start()
    try:
        await answering.run()
    finally:
        await services.close()


if __name__ == "__main__":
    sys.exit(main())
