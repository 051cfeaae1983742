"""Runs one engine process: `python -m app.engine --socket PATH`. Options default to the settings."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from app import process_tuning, settings, telemetry
from app.wire.socket_folder import NotPrivate


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m app.engine", description=__doc__)
    parser.add_argument(
        "--socket",
        type=Path,
        required=True,
        help="listen at this path; heartbeats are sent at PATH.heartbeat",
    )
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--dtype", choices=("auto", "float32", "bfloat16"))
    for name in ("threads", "max-batch-tokens", "max-slots", "prefill-tokens"):
        parser.add_argument(f"--{name}", type=int, metavar="N")
    parser.add_argument("--batch-invariant", action="store_true", default=None)
    options = vars(parser.parse_args())
    socket = options.pop("socket")
    try:
        serve(socket, options)
    except (settings.SettingError, NotPrivate) as error:
        print(f"ostinato engine: {error.message}", file=sys.stderr)
        sys.exit(settings.REFUSED if isinstance(error, settings.SettingError) else 1)


def serve(socket: Path, options: dict[str, Any]) -> None:
    chosen = settings.load(**options)
    telemetry.setup("engine", chosen.log_format, chosen.log_level)
    process_tuning.share_the_machine()
    with process_tuning.quick_imports():  # importing torch takes seconds, so the arguments are checked first
        from app.engine.process import run

    run(socket, chosen)


if __name__ == "__main__":
    main()
