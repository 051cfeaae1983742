"""The inference use cases. They accept texts, token ids or numbers, and return scores, vectors or generated text."""

from __future__ import annotations

import asyncio
import itertools
import os
import secrets
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import msgspec

from app.errors import NotFound, Unavailable
from app.inference import checks, cost
from app.inference.admission import Admission, Ticket
from app.inference.deadlines import LATE, Deadlines
from app.inference.engines import failures
from app.inference.engines.client import EngineClient
from app.inference.engines.dispatch import dispatch
from app.inference.engines.pool import EnginePool
from app.inference.engines.quarantine import Quarantine
from app.inference.engines.work import Work
from app.inference.generation import OVERDUE, Choice, GenerationRequest
from app.inference.inputs import TokenizedInput, prepare
from app.inference.items import Item, entries_of, parse, size_of
from app.inference.measures import GenerationMeasures, Measures, NoMeasures
from app.inference.queries import GenerationQuery, InferenceQuery, ScoredBatch
from app.inference.readers import Readers
from app.inference.scoring import calibrate
from app.inference.tally import Tally
from app.inference.versions import Cache, LoadProbes, ResolvedVersion, Versions
from app.rates import Rates
from app.registry.records import Version
from app.settings import Settings
from app.telemetry import request_id
from app.wire import engine as wire

# The maximum number of characters, ids or numbers that are parsed and tokenized on the event loop. Longer input, and
# all input for tokenizers that were not trained here (their speed is unknown), is processed in a thread.
INLINE = 4000
LONG_INPUTS = 4  # the maximum total size of long input being read, as a multiple of the largest request body allowed
T = TypeVar("T")
Resolve = Callable[[str, str], Version]


class Inference:
    """The inference use cases, one instance per API process. Call all methods on the event loop that called `start`."""

    def __init__(
        self, settings: Settings, resolve: Resolve, cache: Cache, probes: LoadProbes | None = None,
        rates: Rates | None = None, *, background: bool = False,
    ) -> None:  # fmt: skip
        self.settings = settings
        self.background = background  # whether engines answer the requests of other processes first
        self.quarantine = Quarantine()
        self.admission = Admission(settings.max_waiting, settings.max_waiting_tokens, rates=rates)
        self.pool = EnginePool(settings.socket_dir, self._lost)
        self.deadlines = Deadlines()
        self.tally = Tally()
        self._readers = Readers(LONG_INPUTS * settings.max_body_bytes)
        self.versions = Versions(resolve, cache, settings.load_timeout, probes=probes)
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
        # If trusted work was open too, it may have crashed the engine, so no suspect can be convicted.
        convict = len(suspects) == len(open_work)
        self.quarantine.crashed([(work.requests, work.answers) for work in suspects], convict=convict)

    def _identity(self) -> str:
        return f"{self._prefix}{next(self._numbers):x}"

    # --- classification and embedding ---------------------------------------------------------------------------

    async def classify(
        self, query: InferenceQuery, check: Callable[[ResolvedVersion], None] | None = None
    ) -> ScoredBatch:
        """Return the head's outputs for each item, calibrated if the version has a calibration and the query allows it.

        Raises InvalidRequest if the version generates text or only computes embeddings. `check` is called with the
        version before any work is done, and may reject the version by raising an error.
        """
        scored = await self._rows(query, wire.Score, check=check)
        if query.calibrated and (calibration := scored.version.assets.calibration) is not None:
            scored = replace(scored, rows=await calibrate(calibration, scored.rows))
        if query.measured:
            self.tally.add(scored.version, scored.rows)
        return scored

    async def embed(self, query: InferenceQuery, dimensions: int = 0) -> ScoredBatch:
        """Return a unit vector for each item.

        Raises InvalidRequest for a linear model, or if the version's vectors have fewer than `dimensions` numbers.
        """
        return await self._rows(query, wire.Embed, dimensions)

    async def _rows(
        self,
        query: InferenceQuery,
        kind: type[wire.Score] | type[wire.Embed],
        dimensions: int = 0,
        check: Callable[[ResolvedVersion], None] | None = None,
    ) -> ScoredBatch:
        with self.deadlines.limit(query.seconds):
            version = await self.versions.get(query.reference, query.principal)
            if kind is wire.Score:
                checks.check_scores(version)
            else:
                checks.check_vectors(dimensions, version)
            if check is not None:
                check(version)
            with self.admission.admit(version.ref, 1, principal=query.principal) as ticket:
                inputs = await self._prepare(query, version)
                self._check_cost(version, inputs.lengths)
                request = kind(
                    self._identity(),
                    version.digest,
                    query.principal,
                    inputs.sequences,
                    inputs.features,
                    deadline=time.time() + query.seconds,
                    request_id=request_id.get(),
                    background=self.background,
                )
                return await self._score(request, query, version, inputs.lengths, ticket)

    async def _score(
        self,
        request: wire.Score | wire.Embed,
        query: InferenceQuery,
        version: ResolvedVersion,
        lengths: list[int],
        ticket: Ticket,
    ) -> ScoredBatch:
        tokens = sum(lengths)
        ticket.weigh(tokens)
        measures = (Measures if query.measured else NoMeasures)(version.ref, tokens)
        try:
            for last in (False, True):  # if the engine has unloaded the version in the meantime, load it again, once
                client, work = await self._engine(version), Work((request,), query.trusted)
                async with dispatch(client, work, self.quarantine):
                    ticket.sent()
                    _, answer = await work.inbox.get()
                if last or not failures.not_loaded(answer):
                    break
            rows, timing = await _scores(answer)
            measures.finished("scored", timing)
            return ScoredBatch(version, rows, lengths, timing)
        finally:
            measures.close()

    async def _engine(self, version: ResolvedVersion) -> EngineClient:
        client = self.pool.holder(version.digest)
        return client if client is not None else await self.load(version)

    async def load(self, version: ResolvedVersion) -> EngineClient:
        """Return an engine that has loaded the version. If there is no such engine, load the version into one.

        Raises Unavailable (`loading`) if the version is not loaded before its `wait_until`.
        """
        return await self.pool.engine_for(
            version.digest, lambda: self.versions.load_message(version), version.wait_until
        )

    async def items(self, value: Any, field: str, *, blank: bool = False) -> list[Item]:
        """Parse a request's input with `parse`, in a thread if the input is long."""
        work = partial(parse, value, field, self.settings.max_texts, blank=blank)
        entries = entries_of(value, self.settings.max_texts)
        if entries <= INLINE:
            return work()
        return await self._readers.run(entries, work)

    async def check_tokenizer(self, reference: str, owner: str, principal: str, field: str) -> None:
        """Check that the version `owner`, a model reference or a digest, has the same tokenizer as `reference`.

        `field` is the request field that names `owner`. Raises InvalidRequest if the tokenizers differ, and
        NotFound if `owner` does not resolve to a version.
        """
        version = await self.versions.find(reference, principal)
        if owner.removeprefix("sha256:") == version.digest:
            return
        try:
            other = await self.versions.find(owner, principal)
        except NotFound as error:
            raise NotFound(f"{field}: {error.message}", code=error.code, param=field) from None
        checks.check_same_tokenizer(version, other, field)

    async def read(
        self, reference: str, principal: str, seconds: float, size: int, work: Callable[[ResolvedVersion], T]
    ) -> tuple[ResolvedVersion, T]:
        """Return the version and the result of `work(version)`.

        `size` is the length of the input in characters or tokens. `work` runs in a thread if the input is long or the
        tokenizer was not trained here.
        """
        with self.deadlines.limit(seconds):
            version = await self.versions.get(reference, principal)
            if size <= INLINE and (version.tokenizer is None or version.tokenizer.quick):
                return version, work(version)
            return version, await self._readers.run(size, partial(work, version), principal)

    async def _prepare(self, query: InferenceQuery, version: ResolvedVersion) -> TokenizedInput:
        size = size_of(query.items)
        work = partial(prepare, query.items, version, query.length_policy, query.param)
        if size <= INLINE and (version.tokenizer is None or version.tokenizer.quick):
            return work()
        return await self._readers.run(size, work, query.principal)

    def _check_cost(self, version: ResolvedVersion, lengths: list[int], *, prompts: bool = False) -> None:
        cost.check(version, lengths, self.pool.living, self.settings.max_sequence_seconds, prompts=prompts)

    # --- generation ---------------------------------------------------------------------------------------------

    async def generate(self, query: GenerationQuery) -> GenerationRequest:
        """Start a generation. The caller must read all of the result's pieces or close the result."""
        until = time.monotonic() + query.seconds
        with self.deadlines.limit(query.seconds):
            async with AsyncExitStack() as stack:
                return await self._generate(query, until, stack)

    async def _generate(self, query: GenerationQuery, until: float, stack: AsyncExitStack) -> GenerationRequest:
        version = await self.versions.get(query.reference, query.principal)
        tokenizer = checks.tokenizer_of(version)
        # Admit before reading the prompts, so that an overloaded service does no work for requests that it rejects.
        count = len(query.items) * query.n
        ticket = stack.enter_context(self.admission.admit(version.ref, count, principal=query.principal))
        least = version.config.context_length // 4 if query.open_ended else query.params.max_tokens
        policy = replace(query.length_policy, continuation=least)
        prompts = (await self._prepare(replace(query, length_policy=policy), version)).sequences
        if query.open_ended:
            params = checks.filled(query.params, prompts, version, ticket.room(sum(map(len, prompts))))
            query = replace(query, params=params)
        checks.check_room(prompts, query.params.max_tokens, version, query.limit_param)
        self._check_cost(version, list(map(len, prompts)), prompts=True)
        checks.check_ids(query.params, version)
        requests = self._requests(query, version, prompts)
        prompt_tokens = sum(map(len, prompts))
        ticket.weigh(prompt_tokens * query.n, charged=prompt_tokens, reserved=query.params.max_tokens * count)
        measures = (GenerationMeasures if query.measured else NoMeasures)(version.ref, prompt_tokens, len(requests))
        stack.callback(measures.close)
        client, work = await self._started(version, requests, query.trusted, stack)
        overdue = wire.Failed("", "deadline_exceeded", LATE)
        left = max(0.0, until - time.monotonic())
        timer = asyncio.get_running_loop().call_later(left, work.inbox.put, OVERDUE, overdue)
        stack.callback(timer.cancel)
        choices = [Choice(i, r, tokenizer, query.stops, query.lead) for i, r in enumerate(requests)]
        return GenerationRequest(version, prompts, choices, client, work, ticket, stack.pop_all(), measures, until)

    async def _started(
        self, version: ResolvedVersion, requests: tuple[wire.Generate, ...], trusted: bool, stack: AsyncExitStack
    ) -> tuple[EngineClient, Work]:
        """Send the requests and wait for the first answer. Closing `stack` aborts the open requests.

        If the engine has unloaded the version in the meantime, the version is reloaded once.
        """
        for last in (False, True):
            client, work = await self._engine(version), Work(requests, trusted)
            async with AsyncExitStack() as attempt:
                await attempt.enter_async_context(dispatch(client, work, self.quarantine))
                if last or not failures.not_loaded(await work.inbox.peek()):
                    stack.push_async_exit(attempt.pop_all())
                    break
        return client, work

    def _requests(
        self, query: GenerationQuery, version: ResolvedVersion, prompts: list[list[int]]
    ) -> tuple[wire.Generate, ...]:
        identity, digest, principal = self._identity, version.digest, query.principal
        shared = time.time() + query.seconds, request_id.get(), query.cache_salt, self.background
        requests = []
        for prompt in prompts:
            seed = secrets.randbits(63) if query.seed is None else query.seed
            params = msgspec.structs.replace(query.params, seed=seed)
            for choice in range(query.n):
                requests.append(wire.Generate(identity(), digest, principal, prompt, params, choice, *shared))
        return tuple(requests)


async def _scores(answer: object) -> tuple[list[list[float]], wire.Timing]:
    if isinstance(answer, wire.PackedScored):
        return await asyncio.to_thread(answer.rows), answer.timing
    if isinstance(answer, wire.Scored):
        return answer.scores, answer.timing
    if isinstance(answer, wire.Failed):
        raise failures.of(answer)
    raise Unavailable("the engine aborted this request; try again", code="aborted", retry_after=1.0)
