"""The folder of the engines' sockets must be private; otherwise, the API uses none of its engines."""

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
from app.wire import socket_folder
from tests.fakes import FakeEngine


def test_it_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        socket_folder.check(tmp_path / "run")
    (tmp_path / "open").mkdir(mode=0o755)
    for folder in (tmp_path / "run", tmp_path / "open"):
        socket_folder.make(folder)
        socket_folder.check(folder)
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_folder_that_others_can_write_to_is_refused(tmp_path: Path) -> None:
    for mode in (0o770, 0o702):
        tmp_path.chmod(mode)
        with pytest.raises(socket_folder.NotPrivate, match="other users can write to it"):
            socket_folder.check(tmp_path)


def test_a_link_or_a_folder_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ours").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "ours")
    user = os.getuid()
    for name, runner in (("link", user), ("ours", user + 1)):
        monkeypatch.setattr(os, "getuid", lambda runner=runner: runner)
        for verb in (socket_folder.make, socket_folder.check):
            with pytest.raises(socket_folder.NotPrivate, match="not a folder or belongs to another user"):
                verb(tmp_path / name)


def test_the_service_does_not_start_with_a_folder_of_another_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    loaded = settings.load({}, data_dir=str(tmp_path / ("d" * 100)))
    (tmp_path / "strangers").mkdir()
    loaded.socket_dir.symlink_to(tmp_path / "strangers")
    with pytest.raises(socket_folder.NotPrivate):
        preparation.prepare_folders(loaded)


def test_engines_in_a_folder_that_is_not_private_are_not_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "run")

    async def engines_in(folder: Path) -> set[str]:
        pool = EnginePool(folder, lambda _: None)
        await pool.start()
        names = set(pool.clients)
        await pool.close()
        return names

    with FakeEngine(tmp_path / "run" / "engine-0.sock"), caplog.at_level(logging.ERROR):
        assert asyncio.run(engines_in(tmp_path / "run")) == {"engine-0.sock"} and not caplog.text
        assert not asyncio.run(engines_in(tmp_path / "link")) and "all engines are ignored" in caplog.text
