"""The settings: defaults, bounds, and the messages for invalid values."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from app import settings
from app.settings import SettingError


def load(**environment: str) -> settings.Settings:
    return settings.load({f"OSTINATO_{name}": value for name, value in environment.items()})


def test_defaults_are_for_one_machine(tmp_path: Path) -> None:
    chosen = settings.load({}, data_dir=str(tmp_path))
    assert (chosen.host, chosen.port, chosen.keys) == ("127.0.0.1", 8000, {})
    assert chosen.database == f"sqlite:///{tmp_path / 'ostinato.db'}"
    assert chosen.storage == (tmp_path / "blobs").as_uri()
    assert chosen.run_dir == tmp_path / "run"


def test_the_command_line_overrides_the_environment() -> None:
    assert load(PORT="9000").port == 9000
    assert settings.load({"OSTINATO_PORT": "9000"}, port=9001, host=None).port == 9001
    assert load(BATCH_INVARIANT="1").batch_invariant is True
    assert load(PORT="").port == 8000  # compose files and .env templates set empty variables


def test_variables_of_other_programs_are_ignored() -> None:
    assert settings.load({"PORT": "1", "OSTINATO": "x"}).port == 8000


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("PROT", "1", r"unknown setting OSTINATO_PROT; did you mean OSTINATO_PORT\?"),
        ("QQQQ", "1", "unknown setting OSTINATO_QQQQ; `ostinato settings`"),
        ("PORT", "99999", "OSTINATO_PORT: expected an integer of at most 65535, not '99999'"),
        ("PORT", "eight", "OSTINATO_PORT: expected an integer, not 'eight'"),
        ("LEASE_SECONDS", "0", "OSTINATO_LEASE_SECONDS: expected a number above 0, not '0'"),
        ("BATCH_INVARIANT", "perhaps", "OSTINATO_BATCH_INVARIANT: expected true or false, not 'perhaps'"),
        ("MAX_SLOTS", "0", "OSTINATO_MAX_SLOTS: expected an integer of at least 1, not '0'"),
        ("DTYPE", "float16", "OSTINATO_DTYPE: expected auto, float32 or bfloat16, not 'float16'"),
        ("LOG_FORMAT", "xml", "OSTINATO_LOG_FORMAT: expected text or json, not 'xml'"),
        ("LOG_LEVEL", "all", "OSTINATO_LOG_LEVEL: expected debug, info, warning or error, not 'all'"),
        ("STORAGE_URL", "foo://bar", "OSTINATO_STORAGE_URL .*'foo'; it must look like file:///folder, s3://bucket"),
        ("STORAGE_URL", "memory:///", "OSTINATO_STORAGE_URL "),
        ("STORAGE_URL", "s3://", "OSTINATO_STORAGE_URL contains no bucket; it must look like s3://bucket"),
        ("STORAGE_URL", "s3:bucket", "OSTINATO_STORAGE_URL contains no bucket"),
        ("STORAGE_URL", "s3://[bucket", "OSTINATO_STORAGE_URL is not a valid URL"),
        ("STORAGE_URL", "file://", "OSTINATO_STORAGE_URL contains no folder"),
        ("STORAGE_URL", "file://folder", "OSTINATO_STORAGE_URL .*three slashes"),
        ("DATABASE_URL", "nonsense", "OSTINATO_DATABASE_URL .*sqlite:///path or postgresql://"),
        ("DATABASE_URL", "mysql://host/name", "OSTINATO_DATABASE_URL .*sqlite:///path or postgresql://"),
        ("DATABASE_URL", "postgresql+psycopg2://host/name", "OSTINATO_DATABASE_URL "),
        ("DATABASE_URL", "sqlite://", "OSTINATO_DATABASE_URL "),
        ("API_KEYS", "no-colon", "name:secret"),
        ("API_KEYS", "me:short", "8 characters"),
        ("API_KEYS", "local:12345678", "the name 'local' is reserved"),
        ("API_KEYS", "ann:12345678,bob:12345678", "the same secret twice"),
    ],
)
def test_an_invalid_setting_is_reported_in_one_line(name: str, value: str, message: str) -> None:
    with pytest.raises(SettingError, match=message) as caught:
        load(**{name: value})
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    "url", ["file:///data/blobs", "/data/blobs", "s3://bucket", "s3://bucket/part", "gs://bucket", "https://host/x"]
)
def test_valid_storage_urls(url: str) -> None:
    assert load(STORAGE_URL=url).storage == url


@pytest.mark.parametrize(
    "url",
    ["sqlite:///a.db", "sqlite:////tmp/a.db", "postgres://u:p@h/d", "postgresql:///d", "postgresql+psycopg://h/d"],
)
def test_valid_database_urls(url: str) -> None:
    assert load(DATABASE_URL=url).database == url


def test_each_key_has_an_owner() -> None:
    assert load(API_KEYS="ann:12345678, bob:a:b:c:d:e:f").keys == {"12345678": "ann", "a:b:c:d:e:f": "bob"}
    assert set(load(API_KEYS="ann:12345678,ann:87654321").keys.values()) == {"ann"}  # an old key and a new one


def test_cores_are_counted_on_every_system(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings.cores() == len(os.sched_getaffinity(0))
    monkeypatch.delattr(os, "sched_getaffinity")
    assert settings.cores() == os.cpu_count()
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert settings.cores() == 1


def test_a_deep_data_folder_still_has_usable_sockets(tmp_path: Path) -> None:
    deep = settings.load({}, data_dir=str(tmp_path / ("d" * 100)))
    assert deep.socket_dir != deep.run_dir
    for length in range(1, 120):
        chosen = settings.load({}, data_dir=f"/{'d' * length}")
        assert len(str(chosen.socket_dir / "engine-10.sock.heartbeat")) <= 103, length
    assert settings.load({}, data_dir="/x").socket_dir == Path("/x/run")


def test_a_long_temporary_folder_is_not_used_for_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/" + "t" * 80)
    chosen = settings.load({}, data_dir="/" + "d" * 100)
    assert chosen.socket_dir.parent == Path("/tmp")


def test_every_setting_has_a_description() -> None:
    lines = settings.help_lines()
    assert len(lines) == len(settings.Settings.__struct_fields__)
    assert all(variable.startswith("OSTINATO_") and meaning for variable, _, meaning in lines)
    meanings = {variable: meaning for variable, _, meaning in lines}
    assert meanings["OSTINATO_DEVICE"].endswith(": auto, cpu or cuda")
    assert meanings["OSTINATO_DTYPE"].endswith(": auto, float32 or bfloat16")
    assert meanings["OSTINATO_LOG_FORMAT"].endswith(": text or json")
    assert meanings["OSTINATO_LOG_LEVEL"].endswith(": debug, info, warning or error")
