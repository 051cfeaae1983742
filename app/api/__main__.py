"""The API program: `python -m app.api`. Reads the settings, binds the port, serves until it is told to stop."""

from __future__ import annotations

import socket
import sys

import uvicorn

from app import settings as settings_
from app import telemetry
from app.api.application import create_app
from app.binding import address_of
from app.errors import OstinatoError
from app.settings import REFUSED, SettingError, Settings

DRAIN_SECONDS = 10


class CannotBind(OstinatoError):
    """Not now; the port may become free."""


def listen(settings: Settings) -> socket.socket:
    """Several API processes bind the same port; the kernel shares the connections out."""
    family, address = address_of(settings)
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if settings.api_processes > 1:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        bound.bind(address)
    except OSError as error:
        bound.close()
        raise CannotBind(f"cannot bind {settings.host}:{settings.port}: {error.strerror}") from None
    return bound


def main() -> int:
    try:
        settings = settings_.load()
        telemetry.setup("api", settings.log_format, settings.log_level)
        app = create_app(settings)
        bound = listen(settings)
    except (SettingError, CannotBind) as error:
        print(f"ostinato api: {error.message}", file=sys.stderr)
        return REFUSED if isinstance(error, SettingError) else 1
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=DRAIN_SECONDS,
        backlog=2048,
        proxy_headers=False,
    )
    uvicorn.Server(config).run(sockets=[bound])
    return 0


if __name__ == "__main__":
    sys.exit(main())
