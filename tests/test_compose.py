"""Checks of the compose file that do not need Docker."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
yaml = pytest.importorskip("yaml")


def test_the_programs_get_the_env_file_without_the_databases_password() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    for name in ("api", "worker"):
        assert services[name]["env_file"] == ".env"
        environment = services[name]["environment"]
        assert environment["POSTGRES_PASSWORD"] == ""
        fixed = {"OSTINATO_HOST": "0.0.0.0", "OSTINATO_PORT": "8000", "OSTINATO_DATA_DIR": "/data"}
        assert fixed.items() <= environment.items()  # the env file must not change these
    assert "env_file" not in services["database"]
