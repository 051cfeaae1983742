"""Runs the trainer, or the batch program, as a child process in a separate process group.

The trainer writes its events to a file in the run directory instead of a pipe. The file outlives a killed worker, and
the trainer is not blocked while the worker waits for the database. The trainer receives lease renewals on its standard
input.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from app.settings import Settings

# The environment variables that a trainer inherits. The variables locate programs, libraries and folders, or configure
# computation. The service's settings are not inherited, because the trainer receives its settings as options.
INHERITED = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "TZ", "TMPDIR", "VIRTUAL_ENV", "MPLCONFIGDIR", "XDG_CACHE_HOME")
INHERITED_PREFIXES = (
    *("LC_", "LD_", "DYLD_", "PYTHON", "MALLOC_", "TORCH", "PYTORCH", "CUDA", "CUBLAS_", "CUDNN_", "NVIDIA_"),
    *("OMP_", "MKL_", "GOMP_", "KMP_", "OPENBLAS_", "DNNL_", "ONEDNN_"),
)


TRAINER = (sys.executable, "-m", "app.training")
BATCH_PROGRAM = (sys.executable, "-m", "app.batches")


def options(settings: Settings) -> tuple[str, ...]:
    """Return the trainer options that are the same for every run on this machine."""
    logs = "--log-format", settings.log_format, "--log-level", settings.log_level
    machine = "--threads", str(settings.threads), "--device", settings.device, "--memory", str(settings.training_memory)
    return "--resume-every", f"{settings.resume_every_seconds:g}", *machine, *logs


def limits(settings: Settings, owner: str) -> tuple[str, ...]:
    """Return the trainer options that depend on the owner of the job."""
    time_limits = settings.training_processor_seconds, settings.quotas.of(owner).processor_seconds
    return "--processor-seconds", str(min(filter(None, time_limits), default=0))


def environment(variables: Mapping[str, str]) -> dict[str, str]:
    """Select the variables that a trainer inherits.

    Because this is an allow-list, API keys and store credentials are never passed to a trainer.
    """
    return {k: v for k, v in variables.items() if k in INHERITED or k.startswith(INHERITED_PREFIXES)}


class Trainer:
    """A trainer or batch program. All methods are thread-safe and may be called after the process has exited."""

    def __init__(
        self,
        command: Sequence[str],
        run: Path,
        *,
        events: Path | None,
        log: Path,
        lease_seconds: float,
        about: tuple[str, str],
        keep_open: tuple[int, ...] = (),
        env: Mapping[str, str] | None = None,
    ) -> None:
        """Start the process. The process appends its events to the file `events`, if any.

        `about` contains the ids of the request and of the job, which the trainer adds to its log lines. `keep_open`
        lists the file descriptors that the trainer inherits.
        """
        options = [str(run), "--lease-seconds", f"{lease_seconds:g}"]
        options += [f"--request-id={about[0]}", f"--job-id={about[1]}"]
        with contextlib.ExitStack() as files:
            log_file = files.enter_context(log.open("ab"))
            if events is not None:
                descriptor = files.enter_context(events.open("ab")).fileno()
                options += ["--events-fd", str(descriptor)]
                keep_open = (*keep_open, descriptor)
            self._process = subprocess.Popen(
                [*command, *options],
                stdin=subprocess.PIPE,
                stdout=log_file,
                stderr=log_file,
                start_new_session=True,  # a separate group, so that `kill` does not end the worker
                pass_fds=keep_open,
                env=env,
            )
        self._lock = threading.Lock()
        self._closed = threading.Event()
        assert self._process.stdin is not None
        self._stdin = self._process.stdin
        os.set_blocking(self._stdin.fileno(), False)  # `renew` must not wait for a trainer that does not read

    @property
    def pid(self) -> int:
        """The process id, which is also the id of the process group."""
        return self._process.pid

    def renew(self) -> None:
        """Notify the trainer of a lease renewal. Does not block if the trainer is not reading or has exited."""
        with self._lock, contextlib.suppress(OSError, ValueError):
            os.write(self._stdin.fileno(), b"\n")

    def terminate(self) -> None:
        """Ask the trainer to save a resume point and exit. Its helper processes then exit without a signal."""
        with self._lock:
            if not self._closed.is_set():
                os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        """Kill the whole process group."""
        with self._lock:
            # After `close`, the id may belong to another process.
            if not self._closed.is_set():
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(self.pid, signal.SIGKILL)

    def running(self) -> bool:
        """Whether the process is running.

        After the exit, the process remains a zombie until `close`, so its id is not reused and `kill` cannot kill
        another process.
        """
        if self._closed.is_set():
            return False
        if not hasattr(os, "waitid"):
            return self._process.poll() is None  # macOS before Python 3.13; this releases the process id too early
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None

    def close(self) -> int:
        """Kill the group's remaining processes, release the process id, and return the exit code."""
        self.kill()
        with self._lock:
            self._closed.set()
            code = self._process.wait()
            with contextlib.suppress(OSError):
                self._stdin.close()
        return code
