"""The run directory by itself: reading a growing file, paths that escape, the lock; and what a trainer is told."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import CheckpointInvalid
from app.wire.trainer import Metrics, Note, Phase
from app.worker import run_directory as rundir
from app.worker import trainers as listing
from app.worker import transcript as telling
from app.worker.run_directory import EventFile, RunBusy, RunDirectory
from app.worker.trainer import Trainer, environment
from tests.jobs.fixtures import until


@given(cuts=st.lists(st.integers(0, 400)), size=st.sampled_from([3, 64, 2**20]))
def test_a_growing_file_gives_each_event_once_however_it_grows(
    cuts: list[int], size: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    events = [
        Phase("training"),
        *(Metrics(n, 9, {"train_loss": 0.5}, n / 9) for n in range(1, 4)),
        Note("é", 1, "info", "é"),
    ]
    raw = b"".join(msgspec.json.encode(event) + b"\n" for event in events)
    path = tmp_path_factory.mktemp("events") / "1.jsonl"
    said, found, start = EventFile(path), [], 0
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(rundir, "READ_BYTES", size)
        for cut in [*sorted(cuts), len(raw)]:
            with path.open("ab") as file:
                file.write(raw[start:cut])
            start = max(start, cut)
            while batch := said.read():
                found += batch
    assert found == events


def test_a_line_that_is_no_event_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "1.jsonl"
    path.write_bytes(b'nonsense\n{"type":"Later"}\n{"type":"Phase","phase":"training"}\n{"type":"Pha')
    said = EventFile(path)
    assert said.read() == [Phase("training")]
    assert said.read() == []


def test_earlier_attempts_are_read_in_their_order_and_torn_ends_left_out(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path, "ftjob-1")
    for attempt in (10, 2, 9):
        line = msgspec.json.encode(Phase(str(attempt)))
        run.events(attempt).write_bytes(line + b"\n" + line[:5])
    assert [event for batch in run.earlier_events(10) for event in batch] == [Phase("2"), Phase("9")]


def test_the_trainer_names_no_path_outside_its_run(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path, "ftjob-1")
    (run.path / "link").symlink_to("/etc")
    assert run.inside("checkpoints/step-3") == run.path.resolve() / "checkpoints/step-3"
    for path in ("../ftjob-2", "/etc/passwd", "link/passwd"):
        with pytest.raises(CheckpointInvalid):
            run.inside(path)


def test_the_lock_is_held_until_its_last_holder_is_gone(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path, "ftjob-1")
    held = run.lock(0.0, lambda: None)
    shared = os.dup(held)  # as a child holds it
    os.close(held)
    looks: list[int] = []
    with pytest.raises(RunBusy):
        run.lock(0.2, lambda: looks.append(1))
    assert looks
    os.close(shared)
    os.close(run.lock(0.0, lambda: None))


def test_a_trainer_is_told_what_it_needs_and_no_secrets() -> None:
    needed = {"PATH": "/bin", "HOME": "/h", "LC_ALL": "C", "PYTHONPATH": "/p", "OMP_NUM_THREADS": "1"}
    needed |= {"CUDA_VISIBLE_DEVICES": "0", "CUBLAS_WORKSPACE_CONFIG": ":4096:8", "TORCHINDUCTOR_CACHE_DIR": "/t"}
    secrets = {"OSTINATO_API_KEYS": "a:b", "OSTINATO_DATABASE_URL": "x", "AWS_SECRET_ACCESS_KEY": "y"}
    secrets |= {"PGPASSWORD": "z", "HF_TOKEN": "t", "DATABASE_URL": "x", "SSH_AUTH_SOCK": "s", "GITHUB_TOKEN": "g"}
    assert environment(needed | secrets) == needed


def test_the_list_of_trainers_loses_the_dead_and_keeps_the_living(tmp_path: Path) -> None:
    with listing.listed(tmp_path, "ftjob-1", 1, os.getpid()):
        (tmp_path / "ftjob-2.json").write_text('{"pid": 4194999}')
        (tmp_path / "ftjob-3.json").write_text("torn")
        listing.sweep(tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == ["ftjob-1.json"]
        listing.end_stray(tmp_path, "ftjob-1", Path("/no/such/run"))  # another program's number: left alone
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(shutil.which("ps") is None, reason="ps is not here")
def test_without_proc_and_waitid_processes_are_watched_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on macOS."""
    monkeypatch.setattr(listing, "PROCESSES", tmp_path / "no-proc")
    monkeypatch.delattr(os, "waitid")
    run = RunDirectory(tmp_path / "runs", "ftjob-1")
    program = (sys.executable, "-c", "import sys; sys.stdin.read()")
    trainer = Trainer(program, run.path, events=run.events(1), log=run.log, lease_seconds=9.0, about=("", "ftjob-1"))
    places = tmp_path / "trainers"
    with listing.listed(places, "ftjob-1", 1, trainer.pid):
        listing.sweep(places)
        assert trainer.running() and [path.name for path in places.iterdir()] == ["ftjob-1.json"]
        listing.end_stray(places, "ftjob-1", Path("/no/such/run"))
        assert trainer.running()
        listing.end_stray(places, "ftjob-1", run.path)
        until(lambda: not trainer.running())
        assert trainer.close() == -signal.SIGKILL
        listing.sweep(places)
        assert list(places.iterdir()) == []


def test_a_later_attempts_entry_stays(tmp_path: Path) -> None:
    with listing.listed(tmp_path, "ftjob-1", 1, os.getpid()):
        (tmp_path / "ftjob-1.json").write_text('{"pid": 1, "attempt": 2}')
    assert (tmp_path / "ftjob-1.json").exists()


@pytest.mark.parametrize(
    ("code", "words"), [(1, "exit code 1"), (-9, "killed by SIGKILL"), (-99, "killed by signal 99")]
)
def test_ends_have_words(code: int, words: str) -> None:
    assert telling.exit_words(code) == words
