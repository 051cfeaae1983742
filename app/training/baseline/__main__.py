"""Fits the baseline of a run: `python -m app.training.baseline RUN_DIR --work N --seed N --context-length N`.

The trainer stops this program if the job is cancelled or exceeds `max_seconds`. The baseline is fitted by a separate
program because scikit-learn's solvers cannot be interrupted. The program reads `prepared/` in the run directory and
writes `baseline/` there. Imports no torch.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
from pathlib import Path


def main() -> int:
    """Fit and store the baseline. Return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m app.training.baseline", description=__doc__)
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("--work", type=int, required=True, help="maximum amount of work, in microseconds of one core")
    parser.add_argument("--seed", type=int, required=True, help="seed for sampling rows if not all are used")
    parser.add_argument("--context-length", type=int, required=True, help="maximum number of tokens in an input")
    parser.add_argument("--watch-input", action="store_true", help="exit at the end of standard input")
    options = parser.parse_args()
    if options.watch_input:
        threading.Thread(target=_exit_at_end_of_input, daemon=True).start()
    # These imports load scikit-learn, which takes a second. Standard input is already watched during this time.
    from threadpoolctl import threadpool_limits

    from app.training.baseline import store
    from app.training.baseline.fit import fit
    from app.training.baseline.work import BaselineLimits
    from app.training.prepare import dataset

    prepared = dataset.load(options.run_dir / "prepared")
    # With one thread, numbers are summed in the same order on every machine, so the results are equal.
    with threadpool_limits(1):
        fitted = fit(prepared, BaselineLimits(options.work, options.seed), options.context_length)
    store.save(options.run_dir, fitted)
    return 0


def _exit_at_end_of_input() -> None:
    """Exit when standard input ends. This input is a pipe, which is closed when the trainer exits."""
    while os.read(sys.stdin.fileno(), 1024):
        pass
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
