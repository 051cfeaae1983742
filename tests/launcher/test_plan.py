"""The programs that are started, and their environment."""

from __future__ import annotations

import pytest

from app import settings
from app.launcher.plan import child_environment, make_plan
from app.settings import SettingError


def test_children_see_what_the_command_line_overrides() -> None:
    chosen = settings.load({}, host="127.0.0.1", port=9, data_dir="/tmp/x")
    environment = child_environment(chosen, {"OSTINATO_PORT": "1", "PATH": "/bin"})
    assert (environment["OSTINATO_PORT"], environment["OSTINATO_DATA_DIR"]) == ("9", "/tmp/x")
    assert environment["PATH"] == "/bin"
    assert settings.load(environment).port == 9


def test_programs_can_be_left_out() -> None:
    chosen = settings.load({})
    assert [c.name for c in make_plan(chosen, without=["worker"]).programs] == ["engine", "api"]
    with pytest.raises(SettingError, match="--without cook: must be engine, api or worker"):
        make_plan(chosen, without=["cook"])


def test_each_api_process_is_a_program_of_the_plan() -> None:
    chosen = settings.load({"OSTINATO_API_PROCESSES": "3"})
    assert [c.name for c in make_plan(chosen).programs] == ["engine", "api", "api", "api", "worker"]
