"""Starts the program that fits the baseline, and waits until it exits."""

from __future__ import annotations

import contextlib
import logging
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from app.training.baseline import store
from app.training.baseline.result import Fitted
from app.training.baseline.work import BaselineLimits

log = logging.getLogger(__name__)
_POLL_SECONDS = 0.05


def load_or_fit(
    run: Path, limits: BaselineLimits, context_length: int, max_seconds: float | None, check: Callable[[], None]
) -> Fitted:
    """Load the baseline of a run, or fit it now in a separate program.

    `check` is called while the program runs and may raise an exception. If the program fails or exceeds `max_seconds`,
    the reason is stored instead of a baseline, so that a training run never fails because of its baseline.
    """
    if (fitted := store.load(run)) is not None:
        return fitted
    reason = _run(run, limits, context_length, max_seconds, check)
    if reason:
        store.save(run, Fitted({"reason": reason}))
    fitted = store.load(run)
    assert fitted is not None
    return fitted


def _run(
    run: Path, limits: BaselineLimits, context_length: int, max_seconds: float | None, check: Callable[[], None]
) -> str:
    """Run the program. Returns the reason for a missing baseline, or "" if the program has stored one."""
    numbers = {"work": limits.work, "seed": limits.seed, "context-length": context_length}
    options = [f"--{name}={value}" for name, value in numbers.items()]
    command = [sys.executable, "-m", "app.training.baseline", str(run), "--watch-input", *options]
    deadline = None if max_seconds is None else time.monotonic() + max_seconds
    with subprocess.Popen(command, stdin=subprocess.PIPE) as program:
        try:
            while (code := _exit_code(program)) is None:
                check()
                if deadline is not None and time.monotonic() > deadline:
                    return f"it was not fitted within max_seconds ({max_seconds:g})"
        finally:
            program.kill()
    if code or not store.directory_of(run).is_dir():
        log.warning("the baseline could not be fitted: exit code %d", code)
        return "it could not be fitted"
    return ""


def _exit_code(program: subprocess.Popen[bytes]) -> int | None:
    """Wait briefly, and return the program's exit code, or None if it is still running."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        return program.wait(_POLL_SECONDS)
    return None
