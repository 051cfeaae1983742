"""The requests that one caller sends to an engine, and the state of their answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from app.inference.engines.inbox import Inbox
from app.wire import engine as wire

EngineRequest = wire.Score | wire.Generate | wire.Embed


@dataclass(slots=True, eq=False)
class Work:
    """The requests that one caller sends to one engine. The answers to request i arrive in `inbox` with tag i.

    `open` contains the ids of the requests that have no final answer yet. `answers`, the number of messages received
    other than failures, measures progress. `trusted` marks requests made by the service itself, which are never
    suspected of having crashed an engine. `reached` is called once, when `answers` equals `milestone`.
    """

    requests: tuple[EngineRequest, ...]
    trusted: bool = False
    inbox: Inbox = field(default_factory=Inbox)
    open: set[str] = field(default_factory=set)
    answers: int = 0
    failed: bool = False  # whether any of the requests has failed
    milestone: int = -1
    reached: Callable[[], None] | None = None
