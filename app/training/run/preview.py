"""The preview program: `python -m app.training.run.preview FILE NAME [FORMAT]` prints the first rows of a data file.

Runs in a separate process with limits, because users can upload any file. NAME is the name of the uploaded file.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import msgspec

from app.training.run import limits, sandbox

MEMORY = 2**30  # the maximum memory of the program, in bytes
PROCESSOR_SECONDS = 10


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m app.training.run.preview", description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("name")
    parser.add_argument("format", nargs="?")
    # "--" precedes the arguments, because the name of a file may begin with a hyphen.
    options = parser.parse_args(["--", *(sys.argv[1:] if arguments is None else arguments)])
    limits.confine(MEMORY, PROCESSOR_SECONDS)
    limits.limit_memory(MEMORY)
    sandbox.enter(options.file.parent)
    from app.training.data.preview import read  # loads numpy, which starts threads; the limits must be set before

    sys.stdout.buffer.write(msgspec.json.encode(read(options.file, options.name, options.format or None)))


if __name__ == "__main__":
    main()
