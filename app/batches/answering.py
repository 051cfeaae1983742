"""Answers the requests of a batch, a few at a time, and appends the answers to the spool."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import shutil
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

import msgspec

from app.api.http.replies import new_id
from app.batches.routes import RouteReply, read_head
from app.runs import batch_input
from app.runs.batch_input import NumberedRequest
from app.runs.batch_spool import Spool
from app.wire.batch import ANSWERS, INPUT, MOST_ANSWER_BYTES, SPEC, BatchAnswer, BatchFault, BatchResponse, BatchSpec

# Maximum number of open requests: at endpoints that score, and at endpoints that generate. A request that is computed
# at the same time as a client's request slows the client down, so the numbers are small. Sequences that are generated
# at the same time share each step, so that a second request costs little.
IN_FLIGHT, GENERATING_IN_FLIGHT = 1, 2
GENERATING = ("/v1/chat/completions", "/v1/completions", "/v1/responses")
FIRST_WAIT, LONGEST_WAIT = 0.1, 5.0  # seconds between two attempts at a request
PATIENCE_SECONDS = 600.0  # how long a request is retried after transient replies that are not `delayed`
SYNC_SECONDS = 1.0  # interval between two writes to the disk
RESERVED_BYTES = 64 * 2**20  # bytes left free on the disk, so that the database and the programs can still write
TOO_LARGE = BatchFault(
    "output_too_large",
    f"The answers of the batch have reached the limit of {MOST_ANSWER_BYTES} bytes; send the rest in another batch.",
)
GRACE_SECONDS = 1.0  # seconds that open requests may take after the program has been asked to stop
log = logging.getLogger(__name__)


class Poster(Protocol):
    """Sends the body of a request to a route."""

    async def post(self, path: str, body: bytes) -> RouteReply: ...


class BatchAnswering:
    """Answers the requests in a run directory that have no answer in its spool yet.

    `stop` must be called on the event loop.
    """

    def __init__(self, run: Path, routes: Poster) -> None:
        self._run, self._routes = run, routes
        self._endpoint = msgspec.json.decode((run / SPEC).read_bytes(), type=BatchSpec).endpoint
        self._stopping = asyncio.Event()
        self._without_memory = set[bytes]()  # the models whose latest request failed because memory was insufficient
        self._full = False  # whether the answers have reached `MOST_ANSWER_BYTES`

    def stop(self) -> None:
        """Do not begin any more requests. Open requests are cancelled after `GRACE_SECONDS`."""
        self._stopping.set()

    async def run(self) -> None:
        """Answer all requests, or stop soon after `stop` has been called.

        Raises OSError if the disk is full or fails.
        """
        count = GENERATING_IN_FLIGHT if self._endpoint in GENERATING else IN_FLIGHT
        with Spool(self._run / ANSWERS) as spool:
            pending = _pending(self._run / INPUT, spool)
            async with _synced(spool):
                await self._until_stopped([asyncio.create_task(self._work(pending, spool)) for _ in range(count)])

    async def _until_stopped(self, tasks: list[asyncio.Task[None]]) -> None:
        """Wait for the tasks to end. After `stop`, wait only for `GRACE_SECONDS`, then cancel the tasks."""
        stopped = asyncio.create_task(self._stopping.wait())
        work = asyncio.gather(*tasks)
        try:
            await asyncio.wait((work, stopped), return_when=asyncio.FIRST_COMPLETED)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(work, GRACE_SECONDS)
        finally:
            for task in (*tasks, stopped):
                task.cancel()
            await asyncio.gather(*tasks, stopped, return_exceptions=True)

    async def _work(self, pending: Iterator[NumberedRequest], spool: Spool) -> None:
        while not self._stopping.is_set() and (numbered := next(pending, None)) is not None:
            custom_id, line, success = numbered.request.custom_id, b"", False
            if not self._full:
                reply = await self._answer(bytes(numbered.request.body))
                line, success = _line(custom_id, reply), reply.success
                self._full = self._full or spool.size + len(line) > MOST_ANSWER_BYTES
            if self._full:
                line, success = msgspec.json.encode(BatchAnswer(new_id("batch_req"), custom_id, None, TOO_LARGE)), False
            if shutil.disk_usage(self._run).free < RESERVED_BYTES + len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            spool.append(numbered.position, success, line)

    async def _answer(self, body: bytes) -> RouteReply:
        """Send the request, repeatedly if necessary, until the reply is final."""
        model, wait, began = bytes(read_head(body).model), FIRST_WAIT, time.monotonic()
        while True:
            reply = await self._routes.post(self._endpoint, body)
            # Waiting for memory once is enough: a model that never fits must not delay every request that names it.
            patience = 0.0 if reply.no_memory and model in self._without_memory else PATIENCE_SECONDS
            if not reply.transient or (time.monotonic() >= began + patience and not reply.delayed):
                break
            await asyncio.sleep(wait)
            wait = min(2 * wait, LONGEST_WAIT)
        (self._without_memory.add if reply.no_memory else self._without_memory.discard)(model)
        return reply


def _pending(path: Path, spool: Spool) -> Iterator[NumberedRequest]:
    return (numbered for numbered in batch_input.requests(path) if numbered.position not in spool.answered_indices)


@asynccontextmanager
async def _synced(spool: Spool) -> AsyncIterator[None]:
    """Write the spool to the disk at intervals during the block."""

    async def repeat() -> None:
        while True:
            await asyncio.sleep(SYNC_SECONDS)
            await asyncio.to_thread(spool.sync)

    task = asyncio.create_task(repeat())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _line(custom_id: str, reply: RouteReply) -> bytes:
    response = BatchResponse(reply.status, reply.request_id, msgspec.Raw(reply.body))
    return msgspec.json.encode(BatchAnswer(new_id("batch_req"), custom_id, response, None))
