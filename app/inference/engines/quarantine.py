"""Which requests may have ended an engine. Knows their fingerprints, not their contents.

Whatever was open when an engine died is suspected until it ends, or comes further than it had come then: what ends an
engine does so at the same place each time. Suspects are tried one after the other, apart from all others at first (see
`passage`). An engine that dies with one suspect on board convicts it, and it is refused for an hour; where several were
on board, none is convicted. A conviction is undone where a request that was beside it turns out to be one that ends
engines.

The trial of one of a few suspects is exclusive: the next one waits until it is cleared. Those of a crowd go on beside
each other after a short turn, for most deaths are nobody's fault. But as soon as one of them was open at two deaths,
all trials are exclusive. So whatever ends engines is convicted at its second crash, or at its third out of a crowd
(later by one for each other engine where a crowd is at large). Until then every suspect is held up for as long as those
before it take to come to where they were, which is about as long as they had been open.

The memory is this process's own: where several API processes share an engine, each counts the deaths that its own
requests were open at, so a request is refused everywhere once each of them has convicted it.
"""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import msgspec

from app.errors import InvalidRequest
from app.telemetry import quarantined
from app.wire import engine as wire

Request = wire.Score | wire.Generate | wire.Embed
MEMORY = 4096  # fingerprints kept of each kind; the oldest go first
SUSPICION_SECONDS = 600.0
CONVICTION_SECONDS = 3600.0  # suspicion of a second crash lasts as long: the turn of one of a crowd may come late
ALONE_SECONDS = 2.0  # that a suspect has the engine to itself at first; twice as long after each further crash
DOUBLINGS = 3
FEW = 4  # more suspects than these share what these would get, so that nobody else is held up for long


def fingerprint(requests: Sequence[Request]) -> bytes:
    """Equal for equal work: ids, deadlines, principals, choices and seeds do not count."""
    digest = hashlib.blake2b(digest_size=16)
    for request in requests:
        work: tuple[object, ...]
        if isinstance(request, wire.Generate):
            work = (request.prompt, msgspec.structs.replace(request.params, seed=0))
        else:
            work = (request.sequences, request.features)
        digest.update(msgspec.msgpack.encode((type(request).__name__, request.digest, *work)))
    return digest.digest()


@dataclass(frozen=True, slots=True)
class Suspicion:
    """`answers`: messages that had come for it when the engine died; `company`: how many are suspected with it.

    `exclusive`: other suspects wait until this one is cleared, so that a death names one.
    """

    crashes: int
    company: int
    answers: int
    until: float
    exclusive: bool

    @property
    def alone_seconds(self) -> float:
        return ALONE_SECONDS * float(2 ** min(self.crashes - 1, DOUBLINGS)) * min(1.0, FEW / self.company)


@dataclass(frozen=True, slots=True)
class Conviction:
    """`beside`: what else was open at the death that convicted it."""

    until: float
    suspicion: Suspicion
    beside: frozenset[bytes]


class Quarantine:
    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._suspects: OrderedDict[bytes, Suspicion] = OrderedDict()
        self._convicted: OrderedDict[bytes, Conviction] = OrderedDict()

    def crashed(self, open_work: Iterable[tuple[Sequence[Request], int]], *, convict: bool = True) -> None:
        """An engine died with this work open; beside each, how many answers it had given to it.

        `convict` False: something else was open that may have done it. Equal requests count once.
        """
        now = self._clock()
        found: dict[bytes, int] = {}
        for requests, answers in open_work:
            mark = fingerprint(requests)
            if mark not in self._convicted:
                found[mark] = max(answers, found.get(mark, 0))
        tried = {mark: s for mark, answers in found.items() if (s := self._tried(mark, answers, now))}
        if convict and len(tried) == 1:
            self._convict(next(iter(tried)), frozenset(found), now)
            del found[next(iter(tried))]
        for mark, answers in found.items():
            before = tried.get(mark)
            crashes, company = (before.crashes + 1, len(tried)) if before else (1, len(found))
            furthest = max(answers, before.answers if before else 0)
            until = now + (CONVICTION_SECONDS if before else SUSPICION_SECONDS)
            self._suspects[mark] = Suspicion(crashes, company, furthest, until, company <= FEW)
        for memory in (self._suspects, self._convicted):
            while len(memory) > MEMORY:
                memory.popitem(last=False)

    def _tried(self, mark: bytes, answers: int, now: float) -> Suspicion | None:
        """The suspicion that a crash confirms: none for what had come further than at the crash before."""
        found = self._suspects.get(mark)
        return found if found is not None and found.until > now and answers <= found.answers else None

    def _convict(self, mark: bytes, beside: frozenset[bytes], now: float) -> None:
        for other, conviction in list(self._convicted.items()):
            if mark in conviction.beside:
                del self._convicted[other]
                self._suspects[other] = conviction.suspicion
        self._convicted[mark] = Conviction(now + CONVICTION_SECONDS, self._suspects.pop(mark), beside)
        quarantined.inc()

    def suspicion(self, requests: Sequence[Request]) -> tuple[bytes, Suspicion] | None:
        """None for the innocent, at next to no cost. Raises InvalidRequest for the convicted."""
        if not self._suspects and not self._convicted:
            return None
        mark, now = fingerprint(requests), self._clock()
        conviction = self._convicted.get(mark)
        if conviction is not None and conviction.until > now:
            raise InvalidRequest(
                "this request was being answered when the engine failed, and again when it was sent by itself; it is "
                "refused for an hour",
                code="request_quarantined",
            )
        if conviction is not None:  # it may try once more, as a suspect
            del self._convicted[mark]
            self._suspects[mark] = Suspicion(1, 1, conviction.suspicion.answers, now + SUSPICION_SECONDS, True)
        found = self._suspects.get(mark)
        if found is None:
            return None
        if found.until <= now:
            del self._suspects[mark]
            return None
        return mark, found if found.exclusive else replace(found, exclusive=self._repeated(now))

    def _repeated(self, now: float) -> bool:
        """Whether a suspect was open at two crashes: nobody may be at large beside it."""
        return any(suspicion.crashes > 1 and suspicion.until > now for suspicion in self._suspects.values())

    def cleared(self, mark: bytes) -> None:
        """The suspect has ended, or has come further than at the crash, and the engine lives."""
        self._suspects.pop(mark, None)
