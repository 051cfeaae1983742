"""The use cases: texts in, scores, vectors or text out.

Knows versions, admission, engines and deadlines, and the order in which they have their say; knows no HTTP.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import secrets
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import msgspec

from app.errors import DeadlineExceeded, InvalidRequest, Unavailable
from app.inference.admission import Admission, Ticket
from app.inference.engines import failures
from app.inference.engines.client import EngineClient, Work
from app.inference.engines.passage import sent
from app.inference.engines.pool import EnginePool
from app.inference.engines.quarantine import Quarantine
from app.inference.generation import OVERDUE, Choice, GenerationRequest, Stops
from app.inference.inputs import Item, LengthPolicy, TokenizedInput, entries_of, parse, prepare, size_of
from app.inference.measures import GenerationMeasures, Measures
from app.inference.readers import Readers
from app.inference.versions import Cache, ResolvedVersion, Versions
from app.registry.records import Version
from app.settings import Settings
from app.telemetry import request_id
from app.wire import engine as wire
from models.parameters import body_width

# Characters, ids or numbers that are looked at on the event loop. Longer input goes to a thread, and so does all that
# other people's tokenizers are to read.
INLINE = 4000
LONG_INPUTS = 4  # as much long input may wait to be read as so many of the largest bodies hold
Resolve = Callable[[str, str], Version]
LATE = "the request was not answered within its time limit"


@dataclass(frozen=True, slots=True)
class Ask:
    """Who wants which version to read what, and until when."""

    reference: str
    items: Sequence[Item]
    principal: str
    seconds: float
    limits: LengthPolicy = field(default_factory=LengthPolicy)
    place: str = "input"  # the name of the field, for complaints
    trusted: bool = False  # asked by ourselves, to see whether the version answers


@dataclass(frozen=True, slots=True)
class GenerateAsk(Ask):
    """`n` continuations of every prompt; choice i * n + j is the j-th of prompt i."""

    params: wire.SamplingParams = field(default_factory=wire.SamplingParams)
    seed: int | None = None
    n: int = 1
    stops: Stops = field(default_factory=Stops)


@dataclass(frozen=True, slots=True)
class ScoredBatch:
    """One row of numbers for each item: the head's raw outputs, or a unit vector."""

    served: ResolvedVersion
    rows: list[list[float]]
    lengths: list[int]
    timing: wire.Timing


class Inference:
    """One per API process. Requests belong to the event loop that called `start`."""

    def __init__(self, settings: Settings, resolve: Resolve, cache: Cache) -> None:
        self.settings = settings
        self.quarantine = Quarantine()
        self.admission = Admission(settings.max_waiting, settings.max_waiting_tokens)
        self.pool = EnginePool(settings.socket_dir, self._lost)
        self._readers = Readers(LONG_INPUTS * settings.max_body_bytes)
        self.versions = Versions(resolve, cache, settings.load_timeout)
        self._prefix = f"{os.getpid():x}-{secrets.token_hex(4)}-"
        self._numbers = itertools.count()

    async def start(self) -> None:
        await self.pool.start()

    async def close(self) -> None:
        await self.pool.close()
        self.versions.close()
        self._readers.close()

    def _lost(self, open_work: list[Work]) -> None:
        suspects = [work for work in open_work if not work.trusted]
        told = [(work.requests, work.answers) for work in suspects]
        self.quarantine.crashed(told, convict=len(suspects) == len(open_work))

    def _identity(self) -> str:
        return f"{self._prefix}{next(self._numbers):x}"

    # --- classification and embedding ---------------------------------------------------------------------------

    async def classify(self, ask: Ask) -> ScoredBatch:
        """Raw scores of each item. Raises InvalidRequest for a version that generates."""
        return await self._rows(ask, wire.Score)

    async def embed(self, ask: Ask, dimensions: int = 0) -> ScoredBatch:
        """A unit vector for each item, from any version.

        Raises InvalidRequest where the version's vectors have fewer than `dimensions` numbers.
        """
        return await self._rows(ask, wire.Embed, dimensions)

    async def _rows(self, ask: Ask, kind: type[wire.Score] | type[wire.Embed], dimensions: int = 0) -> ScoredBatch:
        async with _deadline(ask.seconds):
            served = await self.versions.get(ask.reference, ask.principal)
            if kind is wire.Score and served.config.task == "generation":
                raise InvalidRequest(
                    f"{served.ref} generates text; classification needs a version with labels",
                    code="wrong_task",
                    param="model",
                )
            _check_dimensions(dimensions, served)
            with self.admission.admit(served.ref, 1) as ticket:
                ready = await self._prepare(ask, served)
                request = kind(
                    self._identity(),
                    served.digest,
                    ask.principal,
                    ready.sequences,
                    ready.features,
                    deadline=time.time() + ask.seconds,
                    request_id=request_id.get(),
                )
                return await self._score(ask, request, served, ready.lengths, ticket)

    async def _score(
        self, ask: Ask, request: wire.Score | wire.Embed, served: ResolvedVersion, lengths: list[int], ticket: Ticket
    ) -> ScoredBatch:
        tokens = sum(lengths)
        ticket.weigh(tokens)
        measures = Measures(served.ref, tokens)
        try:
            for last in (False, True):  # a version that has had to make room meanwhile is loaded once more
                client, work = await self._engine(served), Work((request,), ask.trusted)
                async with sent(client, work, self.quarantine):
                    ticket.sent()
                    _, answer = await work.inbox.get()
                if last or not failures.not_loaded(answer):
                    break
            rows, timing = _scores(answer)
            measures.finished("scored", timing)
            return ScoredBatch(served, rows, lengths, timing)
        finally:
            measures.close()

    async def _engine(self, served: ResolvedVersion) -> EngineClient:
        client = self.pool.holder(served.digest)
        return client if client is not None else await self.load(served)

    async def load(self, served: ResolvedVersion) -> EngineClient:
        """An engine that holds the version, loaded now if need be. Raises Unavailable (`loading`) in time."""
        return await self.pool.engine_for(served.digest, lambda: self.versions.load_message(served), served.wait_until)

    async def items(self, value: Any, field: str, *, blank: bool = False) -> list[Item]:
        """What `parse` makes of a request's input, in a thread where it is long."""
        work = partial(parse, value, field, self.settings.max_texts, blank=blank)
        entries = entries_of(value, self.settings.max_texts)
        if entries <= INLINE:
            return work()
        return await self._readers.run(entries, work)

    async def _prepare(self, ask: Ask, served: ResolvedVersion) -> TokenizedInput:
        size = size_of(ask.items)
        if size <= INLINE and (served.tokenizer is None or served.tokenizer.quick):
            return prepare(ask.items, served, ask.limits, ask.place)
        return await self._readers.run(size, partial(prepare, ask.items, served, ask.limits, ask.place))

    # --- generation ---------------------------------------------------------------------------------------------

    async def generate(self, ask: GenerateAsk) -> GenerationRequest:
        """Send it on its way. Whoever asks must read it to its end or close it."""
        until = time.monotonic() + ask.seconds
        async with _deadline(ask.seconds), AsyncExitStack() as stack:
            served = await self.versions.get(ask.reference, ask.principal)
            if served.config.task != "generation" or served.tokenizer is None:
                raise InvalidRequest(
                    f"{served.ref} does {served.config.task}; generation needs a language model",
                    code="wrong_task",
                    param="model",
                )
            ticket = stack.enter_context(self.admission.admit(served.ref, len(ask.items) * ask.n))
            limits = replace(ask.limits, continuation=ask.params.max_tokens)
            prompts = (await self._prepare(replace(ask, limits=limits), served)).sequences
            _check_room(prompts, ask.params.max_tokens, served)
            _check_ids(ask.params, served)
            requests = self._requests(ask, served, prompts)
            ticket.weigh(sum(map(len, prompts)) * ask.n)
            measures = GenerationMeasures(served.ref, sum(map(len, prompts)), len(requests))
            stack.callback(measures.close)
            client, work = await self._started(served, requests, ask.trusted, stack)
            overdue = wire.Failed("", "deadline_exceeded", LATE)
            left = max(0.0, until - time.monotonic())
            timer = asyncio.get_running_loop().call_later(left, work.inbox.put, OVERDUE, overdue)
            stack.callback(timer.cancel)
            choices = [Choice(i, r, served.tokenizer, ask.stops) for i, r in enumerate(requests)]
            return GenerationRequest(served, prompts, choices, client, work, ticket, stack.pop_all(), measures, until)

    async def _started(
        self, served: ResolvedVersion, requests: tuple[wire.Generate, ...], trusted: bool, stack: AsyncExitStack
    ) -> tuple[EngineClient, Work]:
        """The work, sent and not refused: its first answer has come. `stack` will take back what is still open then.

        A version that has had to make room since it was last heard of is loaded once more.
        """
        for last in (False, True):
            client, work = await self._engine(served), Work(requests, trusted)
            async with AsyncExitStack() as passage:
                await passage.enter_async_context(sent(client, work, self.quarantine))
                if last or not failures.not_loaded(await work.inbox.peek()):
                    stack.push_async_exit(passage.pop_all())
                    break
        return client, work

    def _requests(
        self, ask: GenerateAsk, served: ResolvedVersion, prompts: list[list[int]]
    ) -> tuple[wire.Generate, ...]:
        deadline, about = time.time() + ask.seconds, request_id.get()
        requests = []
        for prompt in prompts:
            seed = secrets.randbits(63) if ask.seed is None else ask.seed
            params = msgspec.structs.replace(ask.params, seed=seed)
            requests += [
                wire.Generate(self._identity(), served.digest, ask.principal, prompt, params, choice, deadline, about)
                for choice in range(ask.n)
            ]
        return tuple(requests)


@asynccontextmanager
async def _deadline(seconds: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise DeadlineExceeded(LATE) from None


def _scores(answer: object) -> tuple[list[list[float]], wire.Timing]:
    if isinstance(answer, wire.Scored):
        return answer.scores, answer.timing
    if isinstance(answer, wire.Failed):
        raise failures.of(answer)
    raise Unavailable("the engine gave this request up; try again", code="aborted", retry_after=1.0)


def _check_room(prompts: list[list[int]], max_tokens: int, served: ResolvedVersion) -> None:
    """A Transformer's prompt and continuation share its context; a recurrent network's go on for ever."""
    config = served.config
    longest = max(map(len, prompts))
    if not config.recurrent and longest + max_tokens > config.context_length:
        raise InvalidRequest(
            f"the prompt has {longest} tokens and max_tokens is {max_tokens}, but {served.ref} takes "
            f"{config.context_length} in all; ask for {max(0, config.context_length - longest)} or shorten the prompt",
            code="context_length_exceeded",
            param="max_tokens",
        )


def _check_dimensions(dimensions: int, served: ResolvedVersion) -> None:
    width = body_width(served.config)
    if dimensions > width:
        raise InvalidRequest(
            f"dimensions is {dimensions}, but {served.ref} has {width}; ask for {width} or fewer", param="dimensions"
        )


def _check_ids(params: wire.SamplingParams, served: ResolvedVersion) -> None:
    size = served.config.vocab_size
    for name, ids in (("logit_bias", params.logit_bias), ("stop_token_ids", params.stop_token_ids)):
        if ids and not 0 <= max(ids) < size:
            raise InvalidRequest(f"{name} names token {max(ids)}; {served.ref} has 0 to {size - 1}", param=name)
