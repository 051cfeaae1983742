"""The settings: defaults, bounds, plain complaints, and the one reader of the environment."""

from __future__ import annotations

import os
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


def test_variables_are_read_and_a_command_line_wins() -> None:
    assert load(PORT="9000").port == 9000
    assert settings.load({"OSTINATO_PORT": "9000"}, port=9001, host=None).port == 9001
    assert load(BATCH_INVARIANT="1").batch_invariant is True
    assert load(PORT="").port == 8000  # as compose files and .env templates leave it


def test_other_programs_variables_are_no_business_of_ours() -> None:
    assert settings.load({"PORT": "1", "OSTINATO": "x"}).port == 8000


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("PROT", "1", r"unknown setting OSTINATO_PROT; did you mean OSTINATO_PORT\?"),
        ("QQQQ", "1", "unknown setting OSTINATO_QQQQ; `ostinato settings`"),
        ("PORT", "99999", "OSTINATO_PORT: "),
        ("PORT", "eight", "OSTINATO_PORT: "),
        ("LEASE_SECONDS", "0", "OSTINATO_LEASE_SECONDS: "),
        ("DTYPE", "float16", "OSTINATO_DTYPE: "),
        ("LOG_FORMAT", "xml", "OSTINATO_LOG_FORMAT: "),
        ("API_KEYS", "no-colon", "name:secret"),
        ("API_KEYS", "me:short", "8 characters"),
        ("API_KEYS", "local:12345678", "no key can have the name"),
        ("API_KEYS", "ann:12345678,bob:12345678", "one secret twice"),
    ],
)
def test_what_cannot_be_is_said_plainly(name: str, value: str, complaint: str) -> None:
    with pytest.raises(SettingError, match=complaint) as caught:
        load(**{name: value})
    assert "\n" not in caught.value.message


def test_keys_name_their_owners() -> None:
    assert load(API_KEYS="ann:12345678, bob:a:b:c:d:e:f").keys == {"12345678": "ann", "a:b:c:d:e:f": "bob"}
    assert set(load(API_KEYS="ann:12345678,ann:87654321").keys.values()) == {"ann"}  # an old one and a new one


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


def test_every_setting_is_explained() -> None:
    lines = settings.help_lines()
    assert len(lines) == len(settings.Settings.__struct_fields__)
    assert all(variable.startswith("OSTINATO_") and meaning for variable, _, meaning in lines)
