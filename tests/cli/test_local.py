"""Commands that work on this machine: `ps`, `settings`, `keys`, `migrate`, `fsck`, `registry gc`; invalid settings."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from app.launcher import launcher, programs
from tests.cli.conftest import Run


def test_ps_lists_the_running_programs(ostinato: Run, tmp_path: Path) -> None:
    assert ostinato("ps", "--data-dir", "d").out == (
        f"there is no data folder {tmp_path / 'd'}; start the service there with `ostinato up`, or name another folder "
        "with --data-dir\n"
    )
    (tmp_path / "d").mkdir()
    assert ostinato("ps", "--data-dir", "d").out == (
        f"no programs are running for {tmp_path / 'd'}; start them with: ostinato up\n"
    )
    run = tmp_path / "d" / "run"
    run.mkdir(parents=True)
    programs.write(run, [programs.Program("trainer", os.getpid(), 1.0, 0, "ftjob-1", 2)])
    (row,) = json.loads(ostinato("ps", "--data-dir", "d", "--json").out)
    assert (row["program"], row["pid"], row["job"], row["attempt"]) == ("trainer", os.getpid(), "ftjob-1", 2)
    assert "ftjob-1" in ostinato("ps", "--data-dir", "d").out
    programs.write(run, [programs.Program("trainer", os.getpid(), 1.0, 0, "ftjob-2", 1, parent="ftjob-1")])
    assert "ftjob-2 (trial of ftjob-1)" in ostinato("ps", "--data-dir", "d").out


@pytest.mark.parametrize("command", [["ps"], ["migrate"], ["fsck"], ["registry", "fsck"], ["registry", "gc"]])
def test_a_data_folder_that_was_not_named_is_told(ostinato: Run, tmp_path: Path, command: list[str]) -> None:
    folder = tmp_path / "ostinato-data"
    ostinato("migrate", "--data-dir", str(folder))
    (folder / "run").mkdir()
    programs.write(folder / "run", [programs.Program("api", os.getpid(), 1.0, 0)])
    done = ostinato(*command)
    assert (done.status, done.err) == (0, f"data folder: {folder}\n")
    named = ostinato(*command, "--data-dir", str(folder))
    assert (named.err, len(named.out.splitlines())) == ("", len(done.out.splitlines()))


def test_settings_hide_secrets(ostinato: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OSTINATO_API_KEYS", "me:very-secret")
    monkeypatch.setenv("OSTINATO_PORT", "9123")
    shown = ostinato("settings").out
    assert "9123" in shown and "(set)" in shown and "very-secret" not in shown


def test_printed_keys_are_valid_settings(ostinato: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    key = ostinato("keys", "ann").out.strip()
    assert re.fullmatch(r"ann:[\w-]{40,}", key)
    monkeypatch.setenv("OSTINATO_API_KEYS", key)
    assert ostinato("settings").status == 0
    assert ostinato("keys", "ann").out.strip() != key
    assert ostinato("keys", "a,b").status == 1


@pytest.mark.parametrize("arguments", [["up"], ["models"], ["worker"], ["settings"]])
def test_an_unknown_setting_ends_every_command_with_status_2(
    ostinato: Run, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.setenv("OSTINATO_PROT", "1")
    done = ostinato(*arguments)
    assert (done.status, done.out) == (2, "")
    assert done.err == "ostinato: unknown setting OSTINATO_PROT; did you mean OSTINATO_PORT?\n"


@pytest.mark.parametrize("command", ["up", "api", "engine", "worker"])
@pytest.mark.parametrize(("variable", "value"), [("STORAGE_URL", "foo://bar"), ("DATABASE_URL", "nonsense")])
def test_an_invalid_url_starts_nothing(
    ostinato: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: str, variable: str, value: str
) -> None:
    monkeypatch.setattr(os, "execve", lambda *_: pytest.fail("the program was started"))
    monkeypatch.setattr(launcher, "start_up", lambda *_, **__: pytest.fail("the programs were started"))
    monkeypatch.setenv(f"OSTINATO_{variable}", value)
    done = ostinato(command)
    assert (done.status, done.out, done.err.count("\n")) == (2, "", 1)
    assert done.err.startswith(f"ostinato: OSTINATO_{variable} ") and not list(tmp_path.iterdir())


def test_an_open_address_without_keys_is_refused_with_a_remedy(ostinato: Run) -> None:
    for command in ("up", "api"):
        done = ostinato(command, "--host", "0.0.0.0")
        assert done.status == 2 and 'export OSTINATO_API_KEYS="$(ostinato keys me)"' in done.err


def test_the_registry_can_be_migrated_checked_and_collected(ostinato: Run) -> None:
    assert "no registry" in ostinato("fsck", "--data-dir", "d").err
    assert ostinato("migrate", "--data-dir", "d").out == "the database is up to date\n"
    assert ostinato("migrate", "--data-dir", "d", "--quiet").out == ""
    assert ostinato("fsck", "--data-dir", "d").out == "the registry is intact: 0 blobs\n"
    assert json.loads(ostinato("registry", "fsck", "--data-dir", "d", "--json").out)["ok"] is True
    assert ostinato("registry", "gc", "--data-dir", "d", "--dry-run").out == "0 blobs (0 B) would be deleted, 0 kept\n"


def test_fsck_reports_a_corrupt_blob(ostinato: Run, tmp_path: Path) -> None:
    from app.db.database import Database
    from app.storage.blobs import BlobStore

    ostinato("migrate", "--data-dir", "d")
    store = BlobStore((tmp_path / "d" / "blobs").as_uri())
    sha256 = store.put_bytes(b"bytes that will change")
    (stored,) = (p for p in (tmp_path / "d" / "blobs").rglob("*") if p.is_file() and sha256[:8] in p.as_posix())
    from sqlalchemy import insert

    from app.db.tables import FileRow

    with Database(f"sqlite:///{tmp_path / 'd' / 'ostinato.db'}").transaction() as session:
        row = {"id": "file-1", "owner": "local", "filename": "a", "purpose": "fine-tune", "bytes": 22, "sha256": sha256,
               "status": "processed", "created_at": 0.0}  # fmt: skip
        session.execute(insert(FileRow).values(**row))
    assert ostinato("fsck", "--data-dir", "d").status == 0
    stored.chmod(0o600)
    stored.write_bytes(b"bytes that have changed")
    done = ostinato("fsck", "--data-dir", "d")
    assert done.status == 1 and f"corrupt {sha256}: needed by file-1" in done.out and "damaged" in done.out
