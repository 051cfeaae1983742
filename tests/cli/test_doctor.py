"""`ostinato doctor`: its findings and its exit status."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.cli.service import Service


def test_the_doctor_finds_a_fault(service: Service, ostinato: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    service.routes["GET /readyz"] = (200, {})
    done = ostinato("doctor")
    assert done.status == 0 and f"{service.url} is ready" in done.out
    monkeypatch.setenv("OSTINATO_HOST", "0.0.0.0")
    states = {f["what"]: f["state"] for f in json.loads(ostinato("doctor", "--json").out)}
    assert states["address"] == "wrong" and states["service"] == "ok"


def test_the_doctor_gives_reasons(
    service: Service, ostinato: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def finding(check: str) -> str:
        findings = {f["what"]: f"{f['state']}: {f['told']}" for f in json.loads(ostinato("doctor", "--json").out)}
        return findings[check]

    checks = {"database": "ok", "engine": "no engine is running"}
    service.routes["GET /readyz"] = (503, {"status": "not ready", "checks": checks})
    assert finding("service") == "warning: the service is not ready: engine: no engine is running"
    ostinato("migrate")
    assert finding("database") == "ok: sqlite, with the tables of this release"
    with sqlite3.connect(tmp_path / "ostinato-data" / "ostinato.db") as database:
        database.execute("UPDATE alembic_version SET version_num = '0001'")
    database.close()
    assert finding("database").startswith("wrong: ") and "ostinato migrate" in finding("database")
    monkeypatch.setenv("OSTINATO_DATABASE_URL", "postgresql://nobody:secret@127.0.0.1:1/none")
    assert finding("database").startswith("wrong: does not respond: ") and "secret" not in finding("database")
    refused = ostinato("migrate")
    assert refused.status == 1 and "onnection" in refused.err and "OSTINATO_DATABASE_URL" in refused.err
    (tmp_path / "ostinato-data" / "run").mkdir()
    (tmp_path / "ostinato-data" / "run" / "programs.json").write_text("{")
    assert finding("programs").startswith("wrong: the list of programs")
    assert ostinato("ps", "--data-dir", "ostinato-data").err.startswith("ostinato: the list of programs")


def test_the_doctor_reports_an_invalid_setting_as_a_finding(ostinato: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OSTINATO_PORT", "x")
    done = ostinato("doctor")
    assert done.status == 1 and "OSTINATO_PORT" in done.out and done.err == ""


def test_a_data_folder_must_be_a_folder(service: Service, ostinato: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = ostinato("doctor", "--data-dir", "file")
    assert f"wrong    data folder  {tmp_path / 'file'} is not a folder" in done.out and done.status == 1
