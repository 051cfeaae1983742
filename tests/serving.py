"""Runs an API server in a thread, with real sockets and fake engines, and fills its registry."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self, cast

import httpx
import uvicorn
import uvicorn.server
from fastapi import FastAPI

from app.api.application import create_app
from app.api.http.connections import ConnectionLimits
from app.api.http.protocol import bounded
from app.api.http.services import Services
from app.db.database import Database
from app.quotas import NO_QUOTAS
from app.rates import Rates
from app.registry.records import Version
from app.registry.service import Registry
from app.settings import Settings
from app.storage.blobs import BlobStore
from app.tokenization.tokenizer import Tokenizer
from app.tokenization.training import train
from tests.checkpoints import make_checkpoint, publish
from tests.fakes import FakeEngine

LABELS = ("negative", "neutral", "positive")


class _OftenPolled:
    """The module asyncio with shorter sleeps: uvicorn would take 0.2 seconds to stop, which thousands of tests do."""

    def __getattr__(self, name: str) -> Any:
        return getattr(asyncio, name)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / 10)


cast(Any, uvicorn.server).asyncio = _OftenPolled()


def wait_until(condition: Callable[[], Any], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition was not met in time"
        time.sleep(0.005)


def byte_tokenizer() -> Tokenizer:
    """A tokenizer with one token per byte, so that a test can count tokens."""
    return train(["abc"], "byte", 512)


@dataclass
class Api:
    """An API that runs during a `with` block, on `port` or on a free port."""

    settings: Settings
    port: int = 0
    app: FastAPI = field(init=False)
    url: str = field(init=False, default="")

    def __post_init__(self) -> None:
        self.app = create_app(self.settings)
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", self.port))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        config = uvicorn.Config(
            self.app,
            http=bounded(
                ConnectionLimits.choose(self.settings.max_connections, self.settings.max_connections_per_address)
            ),
            ws="none",
            log_config=None,
            access_log=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=2,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        wait_until(lambda: self._server.started or not self._thread.is_alive())
        assert self._server.started, "the API did not start"
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(30)
        assert not self._thread.is_alive(), "the API did not stop"
        self._socket.close()

    @property
    def services(self) -> Services:
        """The services of the running application."""
        services: Services = self.app.state.services
        return services

    def client(self, key: str = "") -> httpx.Client:
        headers = {"authorization": f"Bearer {key}"} if key else {}
        return httpx.Client(base_url=self.url, headers=headers, timeout=60)

    def wait_ready(self) -> None:
        wait_until(lambda: self.services.readiness.report().ready)


def settings_in(folder: Path, **changes: Any) -> Settings:
    return Settings(data_dir=str(folder), **changes)


def application_of(settings: Settings) -> FastAPI:
    """The application without its services. Only its routes and its OpenAPI document can be used."""
    return create_app(settings, lambda _: cast(Services, SimpleNamespace(rates=Rates(NO_QUOTAS))))


class Shelf:
    """The registry of a data folder, with methods that register small checkpoints in it."""

    def __init__(self, settings: Settings, scratch: Path) -> None:
        self.database = Database(settings.database)
        self.registry = Registry(self.database, BlobStore(settings.storage), settings.scratch_dir)
        self._scratch = scratch
        self._made = 0

    def put(
        self,
        name: str,
        owner: str = "local",
        alias: str | None = None,
        metrics: dict[str, Any] | None = None,
        files: Mapping[str, str] | None = None,
        job_id: str | None = None,
        **config: Any,
    ) -> Version:
        """Register a checkpoint. `files` contains the texts of further files, by name."""
        self._made += 1
        directory = self._scratch / f"checkpoint-{self._made}"
        config.setdefault("context_length", 64)
        if config.get("input", "tokens") == "tokens":
            config.setdefault("vocab_size", byte_tokenizer().vocab_size)
        make_checkpoint(directory, seed=self._made, **config)
        if config.get("input", "tokens") == "tokens":
            byte_tokenizer().save(directory)
        for path, text in (files or {}).items():
            (directory / path).write_text(text)
        return publish(self.registry, directory, name, owner, alias=alias, metrics=metrics or {}, job_id=job_id)

    def classifier(self, name: str = "mood", **options: Any) -> Version:
        return self.put(name, **{"labels": LABELS, **options})

    def generator(self, name: str = "echo", **options: Any) -> Version:
        return self.put(name, **{"task": "generation", "classes": 0, "labels": (), **options})

    def close(self) -> None:
        self.database.close()


def engine_of(settings: Settings, number: int = 0, **options: Any) -> FakeEngine:
    options.setdefault("classes", len(LABELS))
    return FakeEngine(settings.socket_dir / f"engine-{number}.sock", **options)
