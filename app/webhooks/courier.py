"""Sends due deliveries in a background thread of another program.

Any number of couriers may run on one database (`app.webhooks.deliveries`). Each courier sends a few requests at a time:
at most one to each endpoint, and only a limited number to the endpoints of each owner. Owners take turns, and some
requests are reserved for owners without a request in progress. Slow endpoints of a few owners therefore do not delay
the deliveries of others.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import Counter
from collections.abc import Collection, Hashable
from dataclasses import dataclass
from typing import Self

from app.db.changes import Changes
from app.db.database import Database, DatabaseUnavailable
from app.webhooks import deliveries
from app.webhooks.deliveries import RetryPolicy
from app.webhooks.records import Delivery
from app.webhooks.sender import Sender, Unanswered

AT_ONCE, OF_ONE_OWNER = 8, 4  # maximum number of requests in progress: in total, and to the endpoints of one owner
RESERVED = 2  # how many of AT_ONCE are reserved for owners without another request in progress
POLL_SECONDS = 1.0  # the time between two checks of the database's mark
WAIT_SECONDS = 5.0  # the time before the next check after an error
HOLD_SECONDS = 20.0  # how long a claim lasts, in addition to the time limit of a request
LOST_SECONDS = 0.1  # the time before the next check if another process has claimed the delivery
GRACE_SECONDS = 3.0  # how long a courier that stops waits for its requests
GONE = 410  # the HTTP status with which an endpoint rejects all further attempts
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DeliveryOutcome:
    """The outcome of a request.

    `error` is None if the event was accepted; `gone` means that the endpoint has rejected all further attempts.
    """

    error: str | None = None
    gone: bool = False
    silent: bool = False  # there was no answer, so another event would probably not be answered either


class Courier:
    """A context manager that sends deliveries in a thread, until the end of the block."""

    def __init__(
        self, database: Database, changes: Changes, sender: Sender, policy: RetryPolicy, seconds: float,
        keys: Collection[str] | None = None,
    ) -> None:  # fmt: skip
        """`seconds` is the time limit for each request that `sender` sends.

        If `keys` is given, only the endpoints of these owners receive events: those of a revoked key receive none.
        """
        self._keys, self._reported = keys, keys is None
        self._database, self._changes, self._sender, self._policy = database, changes, sender, policy
        self._hold_seconds = seconds + HOLD_SECONDS
        self._sending: dict[asyncio.Task[None], Delivery] = {}
        self._served: dict[str, None] = {}  # owners, ordered by when they were last served
        self._quiet: Hashable | None = None  # the mark of the database when nothing was due
        self._due = 0.0  # the time of the monotonic clock at which a delivery becomes due without a commit
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="courier", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake = asyncio.Event()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop, and wait a few seconds for the requests in progress. Unfinished requests are sent again later."""
        self._stopping.set()
        if (loop := self._loop) is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._wake.set)
        self._thread.join(2 * GRACE_SECONDS)

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        while not self._stopping.is_set():
            seconds = POLL_SECONDS
            try:
                if not self._reported:
                    await asyncio.to_thread(self._report_orphans)
                if await self._begin():
                    continue
            except DatabaseUnavailable as error:
                log.warning("webhooks are waiting for the database: %s", error.message)
                seconds = WAIT_SECONDS
            except Exception:  # a bug must not stop all deliveries
                log.exception("webhooks: unexpected error")
                seconds = WAIT_SECONDS
            await self._rest(seconds)
        if self._sending:
            await asyncio.wait(self._sending, timeout=GRACE_SECONDS)

    async def _rest(self, seconds: float) -> None:
        """Wait for this long, or until a request has ended, a delivery is due, or the courier must stop."""
        if not self._free():
            seconds = POLL_SECONDS
        elif self._quiet is not None:
            seconds = max(0.0, min(seconds, self._due - time.monotonic()))
        wake = asyncio.ensure_future(self._wake.wait())
        await asyncio.wait({wake, *self._sending}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        wake.cancel()

    def _free(self) -> bool:
        return len(self._sending) < AT_ONCE

    async def _begin(self) -> bool:
        """Start a request if a delivery is due. Returns whether another delivery may be due."""
        if not self._free():
            return False
        mark = await asyncio.to_thread(self._changes.mark)  # read before the query, so that no commit is missed
        if mark is not None and mark == self._quiet and time.monotonic() < self._due:
            return False
        owners = Counter(delivery.owner for delivery in self._sending.values())
        busy = [delivery.endpoint_id for delivery in self._sending.values()]
        most = OF_ONE_OWNER if len(self._sending) < AT_ONCE - RESERVED else 1
        full = [owner for owner, count in owners.items() if count >= most]
        began = time.monotonic()
        delivery, wait = await asyncio.to_thread(self._claim, busy, full)
        if delivery is None:
            if len(self._sending) < len(busy):  # a request has ended in the meantime
                return True
            self._quiet, self._due = mark, time.monotonic() + wait
            return False
        self._served.pop(delivery.owner, None)
        self._served[delivery.owner] = None
        task = asyncio.create_task(self._deliver(delivery, began))
        self._sending[task] = delivery
        task.add_done_callback(self._ended)
        return True

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._sending[task]
        self._quiet = None  # the endpoint and the owner are free again, even if nothing was committed

    def _claim(self, busy: list[str], owners: list[str]) -> tuple[Delivery | None, float]:
        """Claim a delivery. If no delivery is due, return the seconds until the next one is due."""
        with self._database.read() as session:  # read first: an idle courier must not take SQLite's write lock
            due, now = deliveries.next_due(session, busy, owners, self._keys), self._database.now(session)
        if due is None or due > now:
            return None, float("inf") if due is None else due - now
        with self._database.transaction() as session:
            now = self._database.now(session)
            claimed = deliveries.claim(
                session, now, self._hold_seconds, self._policy.attempts, busy, owners, list(self._served), self._keys
            )
        return claimed, LOST_SECONDS

    def _report_orphans(self) -> None:
        """Log the endpoints without an existing key, but only once. Keys change only when the programs restart."""
        with self._database.read() as session:
            orphans = deliveries.list_orphans(session, self._keys or ())
        self._reported = True
        for endpoint_id, owner in orphans:
            log.warning(
                "%s receives no events, because its key %r no longer exists; an operator may delete it",
                endpoint_id,
                owner,
            )

    async def _deliver(self, delivery: Delivery, began: float) -> None:
        """Send a claimed delivery and store the outcome. `began` is the time before the claim."""
        if time.monotonic() - began > HOLD_SECONDS:  # this process was frozen, and another one may send the event
            return
        outcome = await self._send(delivery)
        last = outcome.gone or delivery.attempt >= self._policy.attempts
        retry_after = None if last else self._policy.delay(delivery.attempt)
        _report(delivery, outcome.error, retry_after)
        while time.monotonic() - began < self._hold_seconds:
            try:
                await asyncio.to_thread(self._settle, delivery, outcome, retry_after)
                return
            except DatabaseUnavailable:
                await asyncio.sleep(POLL_SECONDS)
            except Exception:
                log.exception("webhooks: the outcome of %s cannot be stored", delivery.event_id)
                return

    async def _send(self, delivery: Delivery) -> DeliveryOutcome:
        event = delivery.event_id, delivery.type, delivery.created_at, delivery.subject
        try:
            status = await self._sender.post_event(delivery.url, delivery.secrets, *event)
        except Unanswered as error:
            return DeliveryOutcome(str(error), silent=True)
        except Exception:
            log.exception("%s: unexpected error", delivery.endpoint_id)
            return DeliveryOutcome("an internal error; the log of the service shows its cause")
        if 300 <= status < 400:
            return DeliveryOutcome(f"the endpoint answered {status}, and redirects are not followed")
        return (
            DeliveryOutcome()
            if status < 300
            else DeliveryOutcome(f"the endpoint answered {status}", gone=status == GONE)
        )

    def _settle(self, delivery: Delivery, outcome: DeliveryOutcome, retry_after: float | None) -> None:
        with self._database.transaction() as session:
            now = self._database.now(session)
            is_current = deliveries.settle(session, delivery, outcome.error, retry_after, now)
            if is_current and outcome.silent:
                deliveries.pause(session, delivery, self._policy.delay(delivery.attempt), now)


def _report(delivery: Delivery, error: str | None, retry_after: float | None) -> None:
    about = f"{delivery.event_id} ({delivery.type}, {delivery.subject}) to {delivery.endpoint_id}"
    if error is None:
        log.info("%s: delivered in attempt %d", about, delivery.attempt)
    elif retry_after is None:
        log.warning("%s: given up after attempt %d: %s", about, delivery.attempt, error)
    else:
        log.info("%s: attempt %d failed: %s; trying again in %.0f s", about, delivery.attempt, error, retry_after)
