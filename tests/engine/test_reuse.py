"""Decoders with a prefix cache have the same output, read fewer tokens, and share nothing between keys."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.engine.decoder import Decoder
from app.engine.prefixes import Prefixes
from app.engine.reuse import PrefixReuse
from app.wire import engine as wire
from models.choices import NETWORKS
from models.snapshot import Snapshot
from tests.engine import builders as b

BUILT = {name: b.network(b.config(name)) for name in NETWORKS}
for name in NETWORKS:
    BUILT[f"{name}-ngrams"] = b.network(b.config(name, ngram_buckets=64, ngram_tokens=3))
    BUILT[f"{name}-ngrams"].ngrams.weight.normal_(generator=torch.Generator().manual_seed(5))
SAFE_LEAD = 1e-3
PLENTY = 2**24


@pytest.fixture(params=BUILT)
def built(request: pytest.FixtureRequest) -> Any:
    return BUILT[request.param]


def decoder(built: Any, limit: int = PLENTY, least: int = 1, **options: Any) -> tuple[Decoder, b.Replies]:
    engine, replies = b.decoder(built, **options)
    step = engine.scheduler.prefill_tokens if engine.scheduler.alone else 0
    prefixes: Prefixes[Snapshot] = Prefixes(limit)
    engine.reuse = PrefixReuse(prefixes, "d", engine.runner, engine.counters, step, least)
    return engine, replies


def ids(seed: int, length: int) -> list[int]:
    return random.Random(seed).choices(range(b.VOCABULARY), k=length)


def one(engine: Decoder, id: str, prompt: list[int], count: int = 3, **options: Any) -> None:
    engine.add(b.PEER, b.generate(id, prompt, max_tokens=count, **options))
    b.run(engine)


def cached(replies: b.Replies, id: str) -> int:
    """The number of cached tokens, which both the first and the last message report."""
    first = [m.cached_tokens for m in replies.all[id] if isinstance(m, wire.Tokens) and m.timing]
    last: int = replies.final(id).cached_tokens
    assert first in ([], [last])
    return last


@given(
    name=st.sampled_from(list(BUILT)),
    slots=st.integers(1, 4),
    prefill=st.integers(2, 24),
    alone=st.booleans(),
    nodes=st.integers(1, 40),
    arrivals=st.lists(
        st.tuples(st.integers(0, 14), st.integers(0, 2), st.integers(0, 14), st.integers(1, 9), st.integers(0, 6)),
        min_size=1,
        max_size=10,
    ),
)
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
def test_the_output_is_the_same_with_and_without(
    name: str, slots: int, prefill: int, alone: bool, nodes: int, arrivals: list[tuple[int, int, int, int, int]]
) -> None:
    """Each tuple of `arrivals`: (step of the request, shared beginning, its length, length of the rest, max_tokens)."""
    built = BUILT[name]
    engine, replies = decoder(built, 4096 * nodes, slots=slots, prefill=prefill, alone=alone)
    prompts = [ids(kind, 14)[:shared] + ids(50 + i, rest) for i, (_, kind, shared, rest, _) in enumerate(arrivals)]
    with torch.inference_mode():
        for step in range(15):
            for i, (arrives, _, _, _, count) in enumerate(arrivals):
                if arrives == step:
                    engine.add(b.PEER, b.generate(str(i), prompts[i], max_tokens=count))
            engine.step()
    b.run(engine)
    for i, (_, _, _, _, count) in enumerate(arrivals):
        expected, lead = b.plain_greedy(built, prompts[i], count)
        assert cached(replies, str(i)) < len(prompts[i])
        if lead > SAFE_LEAD:
            assert replies.tokens(str(i)) == expected


@pytest.mark.parametrize("length", [8, 20, 24, 25])
def test_in_invariant_mode_the_output_is_the_same_to_the_last_bit(built: Any, length: int) -> None:
    def reports(warm: bool) -> tuple[list[wire.TokenLogprob], int]:
        engine, replies = decoder(built, alone=True, prefill=8)
        if warm:
            one(engine, "a", ids(1, 20) + ids(2, 9), 6)
            one(engine, "b", ids(1, 12) + ids(3, 9), 6)
        else:
            engine.reuse = None
        one(engine, "x", (ids(1, 20) + ids(4, 9))[:length], 9, logprobs=3)
        return replies.reports("x"), cached(replies, "x")

    (plain, none), (fast, hits) = reports(False), reports(True)
    assert fast == plain
    assert (none, hits) == (0, (min(length - 1, 20)) // 8 * 8)


def test_the_next_turn_of_a_conversation_reads_only_what_is_new(built: Any) -> None:
    engine, replies = decoder(built)
    first = ids(1, 15)
    one(engine, "first", first, 6)
    turn = [*first, *replies.tokens("first"), *ids(2, 5)]
    one(engine, "second", turn)
    assert cached(replies, "second") == 15 + 5  # the last token of the answer has not been read
    assert engine.counters["prompt_tokens"] == 15 + 6
    assert engine.counters["prefix_cache_hits"] == 20
    assert engine.counters["prefix_cache_queries"] == 15 + 26


def test_a_common_beginning_is_cached_once_it_has_occurred_twice(built: Any) -> None:
    engine, replies = decoder(built)
    for i in range(3):
        one(engine, str(i), [*ids(1, 20), i, *ids(10 + i, 4)])
    divisible = built.config.architecture == "transformer"
    assert [cached(replies, str(i)) for i in range(3)] == [0, 20 if divisible else 0, 20]


def test_an_equal_prompt_is_read_from_its_last_token(built: Any) -> None:
    engine, replies = decoder(built)
    for i in range(3):
        one(engine, str(i), ids(1, 20))
    assert cached(replies, "2") == 19
    assert replies.tokens("0") == replies.tokens("1") == replies.tokens("2")


def test_short_prefixes_are_not_worth_a_copy(built: Any) -> None:
    engine, replies = decoder(built, least=16)
    for i in range(4):
        one(engine, str(i), [*ids(1, 15), i])
    assert [cached(replies, str(i)) for i in range(4)] == [0] * 4


def test_prompt_logprobs_need_the_whole_prompt(built: Any) -> None:
    engine, replies = decoder(built)
    one(engine, "a", ids(1, 20))
    one(engine, "b", ids(1, 20), prompt_logprobs=0)
    assert cached(replies, "b") == 0
    reported = next(m.prompt_logprobs for m in replies.all["b"] if m.prompt_logprobs)
    assert len(reported) == 20


def test_principals_and_salts_share_nothing() -> None:
    engine, replies = decoder(BUILT["transformer"])
    for i, (principal, salt) in enumerate([("ann", ""), ("bob", ""), ("ann", "x"), ("bob", "x"), ("bob", "")]):
        params = wire.SamplingParams(max_tokens=1, temperature=0.0)
        message = wire.Generate(str(i), "d", principal, ids(1, 20), params, cache_salt=salt)
        engine.add(b.PEER, message)
        b.run(engine)
    assert [cached(replies, str(i)) for i in range(5)] == [0, 0, 0, 0, 19]


@pytest.mark.parametrize("where", ["snapshot", "resume"])
def test_too_little_memory_for_a_copy_only_costs_speed(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    built = BUILT["lstm"]
    engine, replies = decoder(built)
    one(engine, "before", ids(1, 20), 6)

    def fail(*_: object) -> None:
        raise RuntimeError("can't allocate memory")

    monkeypatch.setattr(engine.runner, where, fail)
    prompt = [*ids(1, 20), *replies.tokens("before")[:-1], *ids(3, 4)]
    one(engine, "after", prompt, 6)
    assert replies.tokens("after") == b.plain_greedy(built, prompt, 6)[0]
    assert cached(replies, "after") == (25 if where == "snapshot" else 0)


def test_an_aborted_sequence_leaves_a_usable_state() -> None:
    built = BUILT["gru"]
    engine, replies = decoder(built)
    prompt = ids(1, 20)
    engine.add(b.PEER, b.generate("x", prompt, max_tokens=20))
    with torch.inference_mode():
        for _ in range(6):
            engine.step()
        engine.abort(b.PEER, "x")
    following = [*prompt, *replies.tokens("x"), *ids(5, 3)]
    one(engine, "y", following, 5)
    assert cached(replies, "y") == 20 + len(replies.tokens("x")) - 1
    assert replies.tokens("y") == b.plain_greedy(built, following, 5)[0]
