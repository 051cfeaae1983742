"""The API program, `python -m app.api`: serves HTTP until a signal stops it."""

from __future__ import annotations

import socket
import sys

import uvicorn

from app import settings as settings_
from app import telemetry
from app.api.application import create_app
from app.api.http.connections import ConnectionLimits
from app.api.http.protocol import bounded
from app.api.http.server import Server
from app.binding import address_of
from app.errors import OstinatoError
from app.process_tuning import freeze_objects
from app.settings import REFUSED, SettingError, Settings

DRAIN_SECONDS = 10  # how long open requests may continue after the signal


class CannotBind(OstinatoError):
    """The address cannot be bound. The exit status is not `REFUSED`, because the port may become free later."""


def listen(settings: Settings) -> socket.socket:
    """Return a socket bound to the configured address. Raises CannotBind.

    Several API processes can bind the same port; the kernel distributes the connections (SO_REUSEPORT).
    """
    family, address = address_of(settings)
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if settings.api_processes > 1:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise CannotBind(f"cannot bind {settings.host}:{settings.port}: {error.strerror}") from None
    return listener


def main() -> int:
    """Serve, and return the exit status."""
    try:
        settings = settings_.load()
        telemetry.setup("api", settings.log_format, settings.log_level)
        app = create_app(settings)
        listener = listen(settings)
    except (SettingError, CannotBind) as error:
        print(f"ostinato api: {error.message}", file=sys.stderr)
        return REFUSED if isinstance(error, SettingError) else 1
    config = uvicorn.Config(
        app,
        http=bounded(ConnectionLimits.choose(settings.max_connections, settings.max_connections_per_address)),
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=DRAIN_SECONDS,
        backlog=2048,
        proxy_headers=False,
    )
    freeze_objects()  # otherwise, each full garbage collection would scan the objects of all routes while requests wait
    Server(config).run(sockets=[listener])
    return 0


if __name__ == "__main__":
    sys.exit(main())
