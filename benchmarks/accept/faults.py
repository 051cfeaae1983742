"""Kills, freezes and starves the parts of a service under load, one after another, on SQLite and on PostgreSQL.

Every request must end with a result or a documented error. After each fault, the service must be ready again within ten
seconds and must answer requests. At the end, `ostinato fsck` must find every file intact. Disk faults need root, and
clock faults need a C compiler; a note lists the faults that were left out.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from benchmarks import checkpoints
from benchmarks.accept.kills import last_step
from benchmarks.accept.record import Record
from benchmarks.bench import corpus
from benchmarks.postgres import Cluster, Missing, cluster
from benchmarks.service import ENDED, OSTINATO, Service, outcome, running, wait_until

READY_SECONDS = 10.0  # time limit for the service to be ready after a fault
FAULT_SECONDS = 6.0  # how long a part is frozen, locked, full or read-only
AFTER_SECONDS = 2.0  # how long the load continues after a fault
LONGEST_SECONDS = 60.0  # time limit for a request
MOMENTARY = ("kill", "clock")  # faults that end at once, so that the service can recover immediately
HOUR = 3600
DISK_MIB = 512
SETTINGS = {"OSTINATO_LEASE_SECONDS": "5", "OSTINATO_RESUME_EVERY_SECONDS": "2", "OSTINATO_MAX_ATTEMPTS": "1000"}
STEPS = 100_000  # steps of the training job, more than it can reach during the check
# Documented error codes of requests that fail because of a fault.
EXPECTED = {
    "engine_lost", "engine_unresponsive", "database_unavailable", "database_full", "storage_unavailable",
    "storage_full", "unavailable", "loading", "deadline_exceeded", "overloaded", "no_engine", "aborted",
}  # fmt: skip
CLOCK = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
static long offset(void) {
    long seconds = 0; FILE *file = fopen(getenv("CLOCK_OFFSET"), "re");
    if (file) { if (fscanf(file, "%ld", &seconds) != 1) seconds = 0; fclose(file); }
    return seconds;
}
int clock_gettime(clockid_t id, struct timespec *now) {
    static int (*next)(clockid_t, struct timespec *);
    if (!next) next = dlsym(RTLD_NEXT, "clock_gettime");
    int result = next(id, now);
    if (!result && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) now->tv_sec += offset();
    return result;
}
int gettimeofday(struct timeval *now, void *zone) {
    struct timespec precise; int result = clock_gettime(CLOCK_REALTIME, &precise);
    now->tv_sec = precise.tv_sec; now->tv_usec = precise.tv_nsec / 1000; (void)zone;
    return result;
}
time_t time(time_t *stored) {
    struct timespec now; clock_gettime(CLOCK_REALTIME, &now);
    if (stored) *stored = now.tv_sec;
    return now.tv_sec;
}
"""


@dataclass
class Bench:
    """A service under load, what its faults need, and the outcomes of requests. With SQLite, `server` is None."""

    service: Service
    folder: Path
    server: Cluster | None
    clock: Path | None
    disks: bool
    outcomes: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0


Fault = Callable[[Bench], contextlib.AbstractContextManager[object]]


# --- faults ---------------------------------------------------------------------------------------------------------


def killed(program: str) -> Fault:
    def fault(bench: Bench) -> contextlib.AbstractContextManager[object]:
        bench.service.kill(program)
        return contextlib.nullcontext()

    return fault


def frozen(program: str) -> Fault:
    @contextmanager
    def fault(bench: Bench) -> Iterator[None]:
        pid = bench.service.kill(program, signal.SIGSTOP)
        try:
            yield
        finally:
            with contextlib.suppress(ProcessLookupError):  # the launcher may have replaced the program
                os.kill(pid, signal.SIGCONT)

    return fault


@contextmanager
def locked(bench: Bench) -> Iterator[None]:
    """Hold SQLite's write lock during the block, or restart PostgreSQL at the start of the block."""
    if bench.server is not None:
        bench.server.stop("immediate")
        bench.server.start()
        yield
        return
    connection = sqlite3.connect(bench.service.data / "ostinato.db", isolation_level=None)
    try:
        connection.execute("BEGIN EXCLUSIVE")
        yield
    finally:
        connection.close()


def full(disk: str) -> Fault:
    @contextmanager
    def fault(bench: Bench) -> Iterator[None]:
        ballast = bench.folder / disk / "ballast"
        with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(b"\0" * 4096)
        try:
            yield
        finally:
            ballast.unlink()

    return fault


@contextmanager
def read_only(bench: Bench) -> Iterator[None]:
    store = str(bench.folder / "store")
    # remounting fails while a blob is open for writing
    wait_until(
        lambda: not subprocess.run(["mount", "-o", "remount,ro", store], check=False).returncode, 30, "the store"
    )
    try:
        yield
    finally:
        subprocess.run(["mount", "-o", "remount,rw", store], check=True)


def jumped(seconds: int) -> Fault:
    @contextmanager
    def fault(bench: Bench) -> Iterator[None]:
        assert bench.clock is not None
        bench.clock.write_text(str(int(bench.clock.read_text()) + seconds))
        yield

    return fault


FAULTS: dict[str, Fault] = {
    **{f"kill -9 of the {program}": killed(program) for program in ("api", "engine", "worker", "trainer")},
    **{f"frozen {program}": frozen(program) for program in ("api", "engine", "worker")},
    "locked or restarted database": locked,
    "full data disk": full("data"),
    "full store": full("store"),
    "read-only store": read_only,
    "clock an hour ahead": jumped(HOUR),
    "clock an hour back": jumped(-HOUR),
    "clock another hour back": jumped(-HOUR),
}


def possible(bench: Bench, name: str) -> bool:
    return (bench.disks or not any(word in name for word in ("disk", "store"))) and (
        bench.clock is not None or "clock" not in name
    )


# --- load -----------------------------------------------------------------------------------------------------------


def requests(service: Service, thread: int) -> Iterator[Callable[[], Any]]:
    """Yield an endless mix of requests that read, compute, stream and write."""
    number = 0
    while True:
        number += 1
        text = f"{thread} {number} so it is"
        yield lambda text=text: service.classify("calm", [text] * 8)  # type: ignore[misc]
        yield lambda text=text: service.stream("tale", text, max_tokens=20)  # type: ignore[misc]
        yield lambda: service.client.get("/v1/registry/models").raise_for_status()
        yield lambda text=text: service.client.post(  # type: ignore[misc]
            "/v1/files", data={"purpose": "user_data"}, files={"file": ("a.csv", f"a,b\n{text},1\n".encode() * 200)}
        ).raise_for_status()


@contextmanager
def load(bench: Bench, threads: int = 3) -> Iterator[None]:
    """Send requests during the block, and wait for the last ones at its end."""
    enough = threading.Event()
    bench.outcomes, bench.slowest = Counter(), 0.0

    def work(thread: int) -> None:
        for request in requests(bench.service, thread):
            if enough.is_set():
                return
            began = time.monotonic()
            bench.outcomes[outcome(request)] += 1
            bench.slowest = max(bench.slowest, time.monotonic() - began)

    workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    try:
        yield
    finally:
        enough.set()
        for worker in workers:
            worker.join()


# --- the check ------------------------------------------------------------------------------------------------------


def measure(record: Record, bench: Bench, backend: str, name: str) -> None:
    """Cause a fault under load, and record how its requests ended and when the service was ready again."""
    with load(bench):
        wait_until(lambda: bench.outcomes["ok"] > 10, 60, "answers before the fault")
        with FAULTS[name](bench):
            if not name.startswith(MOMENTARY):
                time.sleep(FAULT_SECONDS)
        ended = time.monotonic()
        wait_until(lambda: usable(bench.service), 120, f"readiness after {name}", every=0.1)
        seconds = time.monotonic() - ended
        time.sleep(AFTER_SECONDS)
    outcomes = dict(bench.outcomes)
    record.notes[f"{backend}: {name}"] = outcomes | {"slowest, seconds": round(bench.slowest, 2)}
    unexpected = sorted(code for code in outcomes if code not in EXPECTED | {"ok", "connection"})
    record.equal(f"{backend}: {name}: undocumented ends", unexpected, [])
    record.at_most(f"{backend}: {name}: seconds until it is ready again", seconds, READY_SECONDS)
    record.at_most(f"{backend}: {name}: slowest request, seconds", bench.slowest, LONGEST_SECONDS)


def usable(service: Service) -> bool:
    return service.ready() and outcome(lambda: service.classify("calm", ["again"])) == "ok"


def prepare(service: Service, folder: Path) -> str:
    """Register a classifier and a language model, and start a long training job. Returns the job's id."""
    for name, shape in (("calm", "classify-lstm"), ("tale", "generate-lstm")):
        tar = checkpoints.pack(checkpoints.write(shape, corpus(), folder))
        service.import_checkpoint(name, tar)
        tar.unlink()
        shutil.rmtree(folder / shape)
    text = folder / "text.txt"
    text.write_text(corpus()[:50_000], encoding="utf-8")
    training = {"max_steps": STEPS, "width": 32, "layers": 1, "context_length": 64, "batch_size": 4, "eval_every": 50}
    job = service.train(model="gru", task="generation", training_file=service.upload(text), training=training)
    wait_until(lambda: last_step(service, job["id"]) > 0, 600, "the first steps of the job", every=0.5)
    service.stream("tale", "once", max_tokens=3)
    wait_until(lambda: usable(service), 60, "an answer")
    return str(job["id"])


def conclude(record: Record, service: Service, backend: str, job: str) -> None:
    """Check that the training job continues, and cancel it."""
    step = last_step(service, job)
    wait_until(lambda: last_step(service, job) > step, 600, "further steps of the job", every=0.5)
    record.equal(f"{backend}: the job after all faults", service.job(job)["status"], "running")
    service.client.post(f"/v1/fine_tuning/jobs/{job}/cancel")
    wait_until(lambda: service.job(job)["status"] in ENDED, 60, "the end of the job")


def check_backend(record: Record, folder: Path, backend: str, server: Cluster | None) -> None:
    folder.mkdir()
    with contextlib.ExitStack() as stack:
        disks = stack.enter_context(mounted(folder))
        library = compiled(folder)
        settings = SETTINGS | {"OSTINATO_STORAGE_URL": (folder / "store").as_uri()}
        settings |= {} if server is None else {"OSTINATO_DATABASE_URL": server.url("postgres")}
        clock = folder / "offset"
        clock.write_text("0")
        preload = {"LD_PRELOAD": str(library), "CLOCK_OFFSET": str(clock)} if library else {}
        job = ""
        with running(folder / "data", settings=settings | preload, ready_in=120) as service:
            service.client.timeout = httpx.Timeout(2 * LONGEST_SECONDS)
            job = prepare(service, folder)
            bench = Bench(service, folder, server, clock if library else None, disks)
            for name in FAULTS:
                if possible(bench, name):
                    measure(record, bench, backend, name)
                else:
                    record.notes[f"{backend}: {name}"] = "left out: not possible on this machine"
            assert service.process is not None
            service.process.kill()  # the launcher; the other programs end when they notice it
            killed_at = time.monotonic()
        with running(folder / "data", settings=settings | preload, ready_in=120) as service:
            wait_until(lambda: usable(service), 120, "readiness after another start", every=0.1)
            seconds = time.monotonic() - killed_at
            record.at_most(
                f"{backend}: kill -9 of the launcher: seconds until another one is ready", seconds, 2 * READY_SECONDS
            )
            conclude(record, service, backend, job)
        done = fsck(folder / "data", settings)
        record.equal(
            f"{backend}: fsck", (done.returncode, done.stdout.strip()[-500:] if done.returncode else ""), (0, "")
        )


def fsck(data: Path, settings: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    command = [*OSTINATO, "fsck", "--data-dir", str(data)]
    return subprocess.run(command, env=dict(os.environ) | dict(settings), capture_output=True, text=True, check=False)


@contextmanager
def mounted(folder: Path) -> Iterator[bool]:
    """Put the data folder and the store on separate small disks. Yields whether this was possible."""
    disks = [folder / "data", folder / "store"]
    done: list[Path] = []
    for disk in disks:
        disk.mkdir()
        options = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "tmpfs", str(disk)]
        if os.getuid() == 0 and subprocess.run(options, capture_output=True, check=False).returncode == 0:
            done.append(disk)
    try:
        yield done == disks
    finally:
        for disk in done:
            subprocess.run(["umount", "-l", str(disk)], check=False)


def compiled(folder: Path) -> Path | None:
    """Compile the library that shifts a program's clock. Returns None if there is no compiler."""
    if shutil.which("cc") is None:
        return None
    source, library = folder / "clock.c", folder / "clock.so"
    source.write_text(CLOCK)
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl"], check=True)
    return library


def check(record: Record, data: Path | None, folder: Path) -> None:
    check_backend(record, folder / "sqlite", "sqlite", None)
    try:
        with cluster() as server:
            check_backend(record, folder / "postgresql", "postgresql", server)
    except Missing as reason:
        record.notes["postgresql"] = str(reason)
