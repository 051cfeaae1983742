"""The folder of the engines' sockets is one that nobody else can write to, or nobody asks there."""

from __future__ import annotations

import asyncio
import logging
import os
import stat
import tempfile
from pathlib import Path

import pytest

from app import settings
from app.inference.engines.pool import EnginePool
from app.launcher import preparation
from app.wire import socket_folder as private
from tests.fakes import FakeEngine


def test_it_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        private.check(tmp_path / "run")
    (tmp_path / "open").mkdir(mode=0o755)
    for folder in (tmp_path / "run", tmp_path / "open"):
        private.make(folder)
        private.check(folder)
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_what_others_can_write_to_is_refused(tmp_path: Path) -> None:
    for mode in (0o770, 0o702):
        tmp_path.chmod(mode)
        with pytest.raises(private.NotPrivate, match="others may write there"):
            private.check(tmp_path)


def test_what_is_not_ours_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ours").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "ours")
    user = os.getuid()
    for name, asking in (("link", user), ("ours", user + 1)):
        monkeypatch.setattr(os, "getuid", lambda asking=asking: asking)
        for verb in (private.make, private.check):
            with pytest.raises(private.NotPrivate, match="a link or somebody else's"):
                verb(tmp_path / name)


def test_the_service_does_not_start_over_a_strangers_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    chosen = settings.load({}, data_dir=str(tmp_path / ("d" * 100)))
    (tmp_path / "strangers").mkdir()
    chosen.socket_dir.symlink_to(tmp_path / "strangers")
    with pytest.raises(private.NotPrivate):
        preparation.prepare_folders(chosen)


def test_no_engine_is_asked_that_a_stranger_could_be(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "run")

    async def found(folder: Path) -> set[str]:
        pool = EnginePool(folder, lambda _: None)
        await pool.start()
        names = set(pool.clients)
        await pool.close()
        return names

    with FakeEngine(tmp_path / "run" / "engine-0.sock"), caplog.at_level(logging.ERROR):
        assert asyncio.run(found(tmp_path / "run")) == {"engine-0.sock"} and not caplog.text
        assert not asyncio.run(found(tmp_path / "link")) and "no engine is used" in caplog.text
