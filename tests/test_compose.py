"""The compose file, as far as it can be read without Docker."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
yaml = pytest.importorskip("yaml")


def test_settings_in_the_env_file_reach_the_programs_and_the_databases_password_does_not() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    for name in ("api", "worker"):
        assert services[name]["env_file"] == ".env"
        told = services[name]["environment"]
        assert told["POSTGRES_PASSWORD"] == ""
        inside = {"OSTINATO_HOST": "0.0.0.0", "OSTINATO_PORT": "8000", "OSTINATO_DATA_DIR": "/data"}
        assert inside.items() <= told.items()  # what an env file says of the machine outside must not move these
    assert "env_file" not in services["database"]
