"""Tracks the requests that may have crashed an engine, by their fingerprints.

Every request that was open when an engine died is a suspect until it ends or makes more progress than before the crash.
A request that crashes engines is assumed to do so at the same point every time. Suspects are tried one after another;
at first, each suspect runs separately from all other requests (see `dispatch`). If an engine dies with exactly one
suspect open, that suspect is convicted and rejected for an hour; with several suspects open, none is convicted. A
conviction is reversed if another request that was open during the same crash is convicted later.

If there are at most `FEW` suspects, turns are exclusive: the next turn starts only when the current suspect is cleared.
In a larger group, each suspect has a short turn and then runs in parallel with the others, because most crashes are not
caused by a request. After a second crash during which the same suspect was open, all turns are exclusive. A request
that crashes engines is therefore convicted after the second crash that it causes, or after the third in a larger group.
With several engines, each further engine may delay the conviction by one more crash, while the group runs in parallel.
A suspect waits until the earlier suspects have again made as much progress as before the crash. The wait is about as
long as the earlier suspects had been open when the engine died.

Each API process keeps its own records. If several API processes share an engine, each process counts only the crashes
during which its own requests were open, so a request is rejected everywhere only once every process has convicted it.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import msgspec

from app.errors import InvalidRequest
from app.inference.engines.work import EngineRequest
from app.telemetry import quarantined
from app.wire import engine as wire

MEMORY = 4096  # the maximum number of suspicions, and of convictions; the oldest are dropped first
SUSPICION_SECONDS = 600.0
CONVICTION_SECONDS = (
    3600.0  # also the duration of a repeated suspicion: in a large group, a suspect may wait long for its turn
)
ALONE_SECONDS = 2.0  # the initial time for which a suspect has the engine to itself; doubled after each further crash
DOUBLINGS = 3
FEW = 4  # a larger group shares the time that this number of suspects would get, which limits the delay for others


def fingerprint(requests: Sequence[EngineRequest]) -> bytes:
    """Return a hash of the requests' inputs and parameters, without ids, deadlines, principals, choices and seeds."""
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
    """The record of a suspect.

    `crashes` is the number of crashes during which the suspect was open; `company` is the number of suspects during the
    last crash. `answers` is the number of answers that the suspect had received when the engine died. If `exclusive` is
    true, other suspects wait until this one is cleared, so that another crash identifies the cause.
    """

    crashes: int
    company: int
    answers: int
    until: float
    exclusive: bool

    @property
    def alone_seconds(self) -> float:
        """The number of seconds for which the suspect runs alone on the engine."""
        return ALONE_SECONDS * float(2 ** min(self.crashes - 1, DOUBLINGS)) * min(1.0, FEW / self.company)


@dataclass(frozen=True, slots=True)
class Conviction:
    """The record of a request that was convicted after a crash.

    `suspects` contains the fingerprints of all suspects in that crash.
    """

    until: float
    suspicion: Suspicion
    suspects: frozenset[bytes]


class Quarantine:
    """The suspects and convicted requests of this process."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._suspects: OrderedDict[bytes, Suspicion] = OrderedDict()
        self._convicted: OrderedDict[bytes, Conviction] = OrderedDict()
        self._next_expiry = math.inf  # no suspicion ends before this time

    def crashed(self, open_work: Iterable[tuple[Sequence[EngineRequest], int]], *, convict: bool = True) -> None:
        """Record that an engine died. `open_work` lists the requests and the number of answers of each open work item.

        If `convict` is false, no work is convicted, because other open work may have caused the crash. Identical work
        is counted once.
        """
        now = self._clock()
        self._expire(now)
        progress: dict[bytes, int] = {}  # fingerprint -> answers
        for requests, answers in open_work:
            mark = fingerprint(requests)
            if mark not in self._convicted:
                progress[mark] = max(answers, progress.get(mark, 0))
        repeated = {mark: s for mark, answers in progress.items() if (s := self._confirmed(mark, answers))}
        if convict and len(repeated) == 1:
            [culprit] = repeated
            self._convict(culprit, frozenset(progress), now)
            del progress[culprit]
        for mark, answers in progress.items():
            before = repeated.get(mark)
            crashes, company = (before.crashes + 1, len(repeated)) if before else (1, len(progress))
            furthest = max(answers, before.answers if before else 0)
            until = now + (CONVICTION_SECONDS if before else SUSPICION_SECONDS)
            self._suspect(mark, Suspicion(crashes, company, furthest, until, company <= FEW))
        for records in (self._suspects, self._convicted):
            while len(records) > MEMORY:
                records.popitem(last=False)

    def _suspect(self, mark: bytes, suspicion: Suspicion) -> None:
        self._suspects[mark] = suspicion
        self._next_expiry = min(self._next_expiry, suspicion.until)

    def _expire(self, now: float) -> None:
        """Drop expired suspicions. While any suspicion exists, every request is fingerprinted."""
        if now >= self._next_expiry:
            self._suspects = OrderedDict((mark, s) for mark, s in self._suspects.items() if s.until > now)
            self._next_expiry = min((s.until for s in self._suspects.values()), default=math.inf)

    def _confirmed(self, mark: bytes, answers: int) -> Suspicion | None:
        """Return the record of a suspect that was open during another crash and had made no more progress than before.

        Returns None if the work was not a suspect, or has made more progress this time.
        """
        suspicion = self._suspects.get(mark)
        return suspicion if suspicion is not None and answers <= suspicion.answers else None

    def _convict(self, mark: bytes, suspects: frozenset[bytes], now: float) -> None:
        for other, conviction in list(self._convicted.items()):
            if mark in conviction.suspects:
                del self._convicted[other]
                self._suspect(other, conviction.suspicion)
        self._convicted[mark] = Conviction(now + CONVICTION_SECONDS, self._suspects.pop(mark), suspects)
        quarantined.inc()

    def suspicion(self, requests: Sequence[EngineRequest]) -> tuple[bytes, Suspicion] | None:
        """Return a suspect's fingerprint and record, or None. Raises InvalidRequest if the work is convicted."""
        if not self._suspects and not self._convicted:
            return None  # the usual case: no fingerprint is computed
        mark, now = fingerprint(requests), self._clock()
        self._expire(now)
        conviction = self._convicted.get(mark)
        if conviction is not None and conviction.until > now:
            raise InvalidRequest(
                "the engine failed at least twice while processing this request; the request is rejected for an hour",
                code="request_quarantined",
            )
        if conviction is not None:  # the conviction has expired: the work may run again, as a suspect
            del self._convicted[mark]
            self._suspect(mark, Suspicion(1, 1, conviction.suspicion.answers, now + SUSPICION_SECONDS, True))
        suspicion = self._suspects.get(mark)
        if suspicion is None:
            return None
        return mark, suspicion if suspicion.exclusive else replace(suspicion, exclusive=self._repeated())

    def _repeated(self) -> bool:
        """Whether any suspect was open during two or more crashes. If so, the turns of all suspects are exclusive."""
        return any(suspicion.crashes > 1 for suspicion in self._suspects.values())

    def clear(self, mark: bytes) -> None:
        """Remove a suspicion, because the suspect has ended or has made more progress without a crash."""
        self._suspects.pop(mark, None)
