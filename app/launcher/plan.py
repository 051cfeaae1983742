"""The programs that `ostinato up` runs, with their arguments and environment."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.launcher.supervision import Command
from app.settings import PREFIX, SettingError, Settings

API_GRACE = 15.0  # seconds for open requests to finish
ENGINE_GRACE = 5.0
WORKER_EXTRA = 5.0  # seconds added to the time that the worker gives its trainers to save


@dataclass(frozen=True)
class LaunchPlan:
    """The commands that one `ostinato up` runs.

    `programs` are kept running. `migration` runs once and must succeed before the API and the worker start. `demo`
    runs once, as soon as the API is ready.
    """

    programs: tuple[Command, ...]
    migration: Command
    demo: Command | None = None


def make_plan(
    settings: Settings, *, demo: bool = False, without: Sequence[str] = (), progress: bool = False
) -> LaunchPlan:
    """Create the plan, leaving out the programs named in `without`. Raises SettingError for unknown names.

    If `progress` is true, the demo prints its progress.
    """
    python = (sys.executable, "-m")
    socket_path = str(settings.socket_dir / "engine-0.sock")
    commands = (
        Command("engine", (*python, "app.engine", "--socket", socket_path), ENGINE_GRACE),
        *[Command("api", (*python, "app.api"), API_GRACE)] * settings.api_processes,  # all listen on the same port
        Command("worker", (*python, "app.worker"), settings.stop_seconds + WORKER_EXTRA),
    )
    if unknown := set(without) - {command.name for command in commands}:
        raise SettingError(f"--without {min(unknown)}: must be engine, api or worker")
    arguments = ("--url", url_of(settings), *(("--progress",) if progress else ()))
    return LaunchPlan(
        programs=tuple(command for command in commands if command.name not in without),
        migration=Command("migrate", (*python, "app.cli", "migrate", "--quiet"), ENGINE_GRACE),
        demo=Command("demo", (*python, "app.demo.demo", *arguments), ENGINE_GRACE) if demo else None,
    )


def url_of(settings: Settings) -> str:
    """Return the URL at which programs on this machine reach the API."""
    return settings.local_url


def child_environment(settings: Settings, environment: Mapping[str, str]) -> dict[str, str]:
    """Return `environment` for child processes. Adds the settings that command-line options may have changed."""
    overrides = {"HOST": settings.host, "PORT": str(settings.port), "DATA_DIR": str(settings.data)}
    return {**environment, **{PREFIX + name: value for name, value in overrides.items()}}
