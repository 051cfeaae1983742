"""The trainer as a child process: its group, its ears and its end. Knows processes; knows no database and no job state.

The trainer speaks into a file of the run directory rather than a pipe: what it has said outlives the worker that would
have read it, and a worker that waits for a database does not make it wait. It listens on its standard input.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

# What a trainer needs of its environment: to find programs, libraries and places for files, and how to compute. Of the
# service's own settings it needs none: those that concern it are on its command line.
TOLD = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "TZ", "TMPDIR", "VIRTUAL_ENV", "MPLCONFIGDIR", "XDG_CACHE_HOME")
TOLD_OF = (
    *("LC_", "LD_", "DYLD_", "PYTHON", "MALLOC_", "TORCH", "PYTORCH", "CUDA", "CUBLAS_", "CUDNN_", "NVIDIA_"),
    *("OMP_", "MKL_", "GOMP_", "KMP_", "OPENBLAS_", "DNNL_", "ONEDNN_"),
)


def environment(given: Mapping[str, str]) -> dict[str, str]:
    """What a trainer is told: no key to anything, and no credentials of a blob store, whatever they are called."""
    return {name: value for name, value in given.items() if name in TOLD or name.startswith(TOLD_OF)}


class Trainer:
    """One running trainer. Its methods may be called from any thread, and after its end."""

    def __init__(
        self,
        command: Sequence[str],
        run: Path,
        *,
        events: Path,
        log: Path,
        lease_seconds: float,
        about: tuple[str, str],
        keep_open: Sequence[int] = (),
        env: Mapping[str, str] | None = None,
    ) -> None:
        """Start it, at the head of a process group of its own. `about`: the ids of the request and the job that its log
        lines carry; `keep_open`: descriptors that it shall hold."""
        with events.open("ab") as said, log.open("ab") as lines:
            told = [str(run), "--events-fd", str(said.fileno()), "--lease-seconds", f"{lease_seconds:g}"]
            told += [f"--request-id={about[0]}", f"--job-id={about[1]}"]
            self._process = subprocess.Popen(
                [*command, *told],
                stdin=subprocess.PIPE,
                stdout=lines,
                stderr=lines,
                start_new_session=True,
                pass_fds=(said.fileno(), *keep_open),
                env=env,
            )
        self._lock = threading.Lock()
        self._ended = threading.Event()
        assert self._process.stdin is not None
        self._ear = self._process.stdin
        os.set_blocking(self._ear.fileno(), False)

    @property
    def pid(self) -> int:
        return self._process.pid

    def renew(self) -> None:
        """Pass one renewal of the lease on. A trainer that does not read, or has ended, is not waited for."""
        with self._lock, contextlib.suppress(OSError, ValueError):
            os.write(self._ear.fileno(), b"\n")

    def terminate(self) -> None:
        """Ask for a resume point and the end. Only the trainer itself is asked: its helpers follow it."""
        with self._lock:
            if not self._ended.is_set():
                os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        """End the whole group, whatever it does."""
        with self._lock:
            if not self._ended.is_set():
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(self.pid, signal.SIGKILL)

    def running(self) -> bool:
        """Whether it lives. A trainer that has ended stays a zombie until `close`, so that its id is nobody else's."""
        if self._ended.is_set():
            return False
        if not hasattr(os, "waitid"):  # macOS before Python 3.13: its id may be another's a little too early
            return self._process.poll() is None
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None

    def close(self) -> int:
        """End what is left of the group; return the exit code."""
        self.kill()
        with self._lock:
            self._ended.set()
            code = self._process.wait()
            with contextlib.suppress(OSError):
                self._ear.close()
        return code
