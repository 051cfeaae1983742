"""Continuous batching compared with a plain loop: for single sequences, changing batches, and after errors."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app import telemetry
from app.engine import requests
from app.wire import engine as wire
from models.choices import NETWORKS
from tests.engine import builders as b

BUILT = {name: b.network(b.config(name)) for name in NETWORKS}
SAFE_LEAD = 1e-3  # if two logits are closer, the shape of the batch may decide which one is larger


@pytest.fixture(params=NETWORKS)
def built(request: pytest.FixtureRequest) -> Any:
    return BUILT[request.param]


def prompt_of(seed: int, length: int) -> list[int]:
    return random.Random(seed).choices(range(b.VOCABULARY), k=length)


def expect_plain(built: Any, replies: b.Replies, id: str, prompt: list[int], count: int) -> None:
    expected, lead = b.plain_greedy(built, prompt, count)
    if lead > SAFE_LEAD:
        assert replies.tokens(id) == expected


@pytest.mark.parametrize("length", [1, 5, 16, 17, 40])
def test_a_sequence_alone_equals_a_plain_loop(built: Any, length: int) -> None:
    engine, replies = b.decoder(built)
    prompt = prompt_of(length, length)
    engine.add(b.PEER, b.generate("a", prompt, max_tokens=8))
    b.run(engine)
    assert replies.final("a").reason == "length"
    assert len(replies.tokens("a")) == 8
    expect_plain(built, replies, "a", prompt, 8)


def test_the_networks_of_these_tests_depend_on_their_prompt(built: Any) -> None:
    outputs = {tuple(b.plain_greedy(built, prompt_of(seed, 10), 8)[0]) for seed in range(6)}
    assert len(outputs) >= 3


@given(
    name=st.sampled_from(NETWORKS),
    slots=st.integers(1, 5),
    prefill=st.integers(3, 40),
    alone=st.booleans(),
    arrivals=st.lists(
        st.tuples(st.integers(0, 12), st.integers(1, 30), st.integers(0, 12), st.none() | st.integers(0, 8)),
        min_size=1,
        max_size=10,
    ),
)
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
def test_sequences_that_come_and_go_do_not_change_each_other(
    name: str, slots: int, prefill: int, alone: bool, arrivals: list[tuple[int, int, int, int | None]]
) -> None:
    """Each tuple of `arrivals` is (step of the request, prompt length, max_tokens, steps until it is aborted)."""
    built = BUILT[name]
    engine, replies = b.decoder(built, slots=slots, prefill=prefill, alone=alone)
    prompts = [prompt_of(i, length) for i, (_, length, _, _) in enumerate(arrivals)]
    with torch.inference_mode():
        for step in range(10_000):
            for i, (arrives, _, count, patience) in enumerate(arrivals):
                if arrives == step:
                    engine.add(b.PEER, b.generate(str(i), prompts[i], max_tokens=count))
                if patience is not None and step == arrives + patience:
                    open_before = engine.running + engine.waiting
                    if engine.abort(b.PEER, str(i)):
                        assert engine.running + engine.waiting == open_before - 1
            engine.step()
            assert engine.running <= slots
            if step > 21 and not engine.busy:
                break
    assert engine.running == engine.waiting == 0
    for i, (_, _, count, _) in enumerate(arrivals):
        final = replies.final(str(i))
        expected, lead = b.plain_greedy(built, prompts[i], count)
        tokens = replies.tokens(str(i))
        if count:
            assert final.reason == ("length" if len(tokens) == count else "abort")
        if lead > SAFE_LEAD:
            assert tokens == expected[: len(tokens)]


def test_a_slot_keeps_nothing_of_its_former_sequence(built: Any) -> None:
    prompt = prompt_of(3, 7)
    fresh, alone = b.decoder(built, slots=1)
    fresh.add(b.PEER, b.generate("x", prompt, max_tokens=6, logprobs=0))
    b.run(fresh)
    engine, replies = b.decoder(built, slots=1)
    engine.add(b.PEER, b.generate("before", prompt_of(9, 30), max_tokens=10))
    engine.add(b.PEER, b.generate("x", prompt, max_tokens=6, logprobs=0))
    b.run(engine)
    assert replies.reports("x") == alone.reports("x")


def test_invariant_mode_is_bit_exact_in_a_crowd(built: Any) -> None:
    def reports(crowd: int) -> list[wire.TokenLogprob]:
        engine, replies = b.decoder(built, slots=6, prefill=8, alone=True)
        for i in range(crowd):
            engine.add(b.PEER, b.generate(f"other{i}", prompt_of(i + 50, 3 + 5 * i), max_tokens=4 + i))
        engine.add(b.PEER, b.generate("x", prompt_of(1, 21), max_tokens=12, logprobs=3, prompt_logprobs=2))
        b.run(engine)
        prompt = next(m.prompt_logprobs for m in replies.all["x"] if m.prompt_logprobs)
        return prompt + replies.reports("x")

    alone = reports(0)
    assert len(alone) == 21 + 12
    assert reports(5) == alone


def test_prompt_logprobs_equal_one_plain_pass(built: Any) -> None:
    prompt = prompt_of(4, 20)
    engine, replies = b.decoder(built, prefill=7)
    engine.add(b.PEER, b.generate("x", prompt, max_tokens=2, prompt_logprobs=2))
    b.run(engine)
    first, *rest = next(m.prompt_logprobs for m in replies.all["x"])
    assert (first.id, first.logprob) == (prompt[0], None)
    with torch.inference_mode():
        logprobs_TV = built.logits(built(torch.tensor([prompt]), b.Context())[0]).log_softmax(-1)
    assert [r.id for r in rest] == prompt[1:]
    assert [r.logprob for r in rest] == pytest.approx(
        [float(logprobs_TV[i, t]) for i, t in enumerate(prompt[1:])], abs=1e-4
    )
    best = [float(v) for v in logprobs_TV[:-1].topk(2).values.flatten()]
    assert [v for r in rest for v in r.top_logprobs] == pytest.approx(best, abs=1e-4)
    assert sum(bool(m.prompt_logprobs) for m in replies.all["x"] if isinstance(m, wire.Tokens)) == 1


def test_max_tokens_zero_still_scores_the_prompt(built: Any) -> None:
    engine, replies = b.decoder(built)
    engine.add(b.PEER, b.generate("x", [1, 2, 3], max_tokens=0, prompt_logprobs=0))
    b.run(engine)
    assert replies.final("x").reason == "length"
    assert replies.tokens("x") == []
    assert [r.id for r in replies.all["x"][0].prompt_logprobs] == [1, 2, 3]


# --- ends -------------------------------------------------------------------------------------------------------


def greedy(built: Any, prompt: list[int], count: int) -> list[int]:
    return b.plain_greedy(built, prompt, count)[0]


def test_end_tokens(built: Any) -> None:
    prompt = prompt_of(2, 6)
    output = greedy(built, prompt, 12)
    end = output[5]
    place = output.index(end)
    engine, replies = b.decoder(built, eos_id=end)
    engine.add(b.PEER, b.generate("eos", prompt, max_tokens=12))
    engine.add(b.PEER, b.generate("ignored", prompt, max_tokens=12, ignore_eos=True))
    engine.add(b.PEER, b.generate("stop id", prompt, max_tokens=12, ignore_eos=True, stop_token_ids=(end,)))
    engine.add(b.PEER, b.generate("later", prompt, max_tokens=12, min_tokens=place + 1))
    b.run(engine)
    for id in ("eos", "stop id"):
        assert (replies.final(id).reason, replies.final(id).stop_id) == ("stop", end)
        assert replies.tokens(id) == output[:place]
    assert replies.tokens("ignored") == output
    assert replies.final("ignored").stop_id is None
    assert len(replies.tokens("later")) > place and end not in replies.tokens("later")[: place + 1]


def test_the_context_limits_the_output_and_refuses_a_full_prompt(built: Any) -> None:
    engine, replies = b.decoder(built)
    engine.add(b.PEER, b.generate("cut", prompt_of(1, b.CONTEXT - 3), max_tokens=100))
    engine.add(b.PEER, b.generate("full", prompt_of(1, b.CONTEXT), max_tokens=1))
    b.run(engine)
    assert (replies.final("cut").reason, len(replies.tokens("cut"))) == ("length", 3)
    assert replies.final("full").code == "context_length_exceeded"


@pytest.mark.parametrize(
    "message",
    [
        b.generate("x", []),
        b.generate("x", [b.VOCABULARY]),
        b.generate("x", [-1]),
        b.generate("x", [1], temperature=float("nan")),
        b.generate("x", [1], temperature=-1.0),
        b.generate("x", [1], repetition_penalty=0.0),
        b.generate("x", [1], logit_bias={b.VOCABULARY: 1.0}),
        b.generate("x", [1], max_tokens=-1),
    ],
)
def test_invalid_requests_are_refused(message: wire.Generate) -> None:
    engine, replies = b.decoder(BUILT["rnn"])
    engine.add(b.PEER, message)
    assert replies.final("x").code == "invalid_request"
    assert not engine.busy


def test_deadlines_hold_while_waiting_and_while_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(requests, "time", SimpleNamespace(monotonic=lambda: now[0]))
    engine, replies = b.decoder(BUILT["lstm"], slots=1)
    engine.add(b.PEER, b.generate("runs", [1, 2], max_tokens=40, deadline=1005.0))
    engine.add(b.PEER, b.generate("waits", [1, 2], max_tokens=40, deadline=1003.0))
    engine.add(b.PEER, b.generate("after", [1, 2], max_tokens=2))
    with torch.inference_mode():
        for now[0] in (1000.0, 1002.9):
            engine.step()
        assert replies.tokens("runs") and "waits" not in replies.all
        now[0] = 1003.0
        engine.step()
        assert replies.final("waits").code == "deadline_exceeded"
        before = len(replies.tokens("runs"))
        now[0] = 1005.0
        engine.step()
    assert replies.final("runs").code == "deadline_exceeded" and len(replies.tokens("runs")) == before
    b.run(engine)
    assert replies.final("after").reason == "length"


# --- errors -----------------------------------------------------------------------------------------------------


class Faulty:
    """A network that raises an error for one token id, or returns NaN for its row."""

    def __init__(self, inner: Any, id: int, kind: str) -> None:
        self.inner, self.id, self.kind = inner, id, kind
        self.config, self.new_state, self.logits = inner.config, inner.new_state, inner.logits

    def __call__(self, ids_BT: torch.Tensor, context: b.Context) -> torch.Tensor:
        hit_BT = ids_BT == self.id
        if self.kind == "raises" and hit_BT.any():
            raise RuntimeError("boom at /secret/path")
        hidden_BTD = self.inner(ids_BT, context)
        return hidden_BTD.masked_fill(hit_BT.any(1)[:, None, None], float("nan")) if self.kind == "nan" else hidden_BTD


@pytest.mark.parametrize(("kind", "code"), [("raises", "engine_failed"), ("nan", "not_finite")])
@pytest.mark.parametrize("options", [{}, {"temperature": 1.0, "top_p": 0.5}], ids=["greedy", "random"])
def test_an_error_fails_only_the_sequence_that_caused_it(kind: str, code: str, options: dict[str, Any]) -> None:
    built = BUILT["gru"]
    bad = next(i for i in range(b.VOCABULARY) if i not in greedy(built, [1, 2, 3], 6))
    engine, replies = b.decoder(Faulty(built, bad, kind), slots=4, prefill=4)
    engine.add(b.PEER, b.generate("good", [1, 2, 3], max_tokens=6))
    with torch.inference_mode():
        engine.step()
    engine.add(b.PEER, b.generate("bad", [5, 6, 7, bad], max_tokens=6, **options))
    b.run(engine)
    assert replies.final("bad").code == code
    assert "/secret" not in replies.final("bad").message
    assert replies.tokens("good") == greedy(built, [1, 2, 3], 6)
    assert engine.running == 0


@pytest.mark.parametrize("by", ["end", "abort"])
def test_a_failed_copy_of_a_slot_fails_all_and_leaks_no_slot(by: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the first sequence leaves, copying the last sequence to its slot fails."""
    engine, replies = b.decoder(BUILT["lstm"], slots=3)
    for id, count in (("first", 2 if by == "end" else 9), ("second", 9), ("last", 9), ("waits", 9)):
        engine.add(b.PEER, b.generate(id, [1, 2], max_tokens=count))

    def fail(source: int, target: int) -> None:
        raise RuntimeError("boom at /secret/path")

    monkeypatch.setattr(engine.runner, "copy", fail)
    with torch.inference_mode():
        engine.step()
        if by == "abort":
            assert engine.abort(b.PEER, "first")
        while engine.busy:
            engine.step()
    assert replies.final("first").reason == ("length" if by == "end" else "abort")
    for id in ("second", "last", "waits"):
        assert replies.final(id).code == "engine_failed" and "/secret" not in replies.final(id).message
    assert engine.running == engine.waiting == 0
    monkeypatch.undo()
    for i in range(3):
        engine.add(b.PEER, b.generate(f"new{i}", [1, 2, 3], max_tokens=6 - i))
    b.run(engine)
    assert [replies.tokens(f"new{i}") for i in range(3)] == [greedy(BUILT["lstm"], [1, 2, 3], 6 - i) for i in range(3)]


def test_a_failed_copy_of_a_slot_while_a_peer_is_dropped_fails_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two sequences of the disconnected peer leave. The first copy fails, so all other requests fail."""
    engine, replies = b.decoder(BUILT["rnn"], slots=4)
    for id, peer in (("first", b"gone"), ("second", b"gone"), ("third", b.PEER), ("fourth", b.PEER)):
        engine.add(peer, b.generate(id, [1], max_tokens=9))
    with torch.inference_mode():
        engine.step()

    def fail(source: int, target: int) -> None:
        raise RuntimeError("the state is broken")

    monkeypatch.setattr(engine.runner, "copy", fail)
    engine.forget({b"gone"}.__contains__)
    assert [replies.final(id).code for id in ("third", "fourth")] == ["engine_failed"] * 2
    assert not engine.busy and engine.running == engine.waiting == 0


def test_a_slot_whose_sequence_could_not_end_is_freed_by_fail_all() -> None:
    """An error occurs between the final message and the release of the slot. The host then fails all open requests."""
    engine, replies = b.decoder(BUILT["rnn"], slots=1)

    def fail(peer: bytes, message: wire.FromEngine) -> None:
        raise MemoryError

    engine.reply = fail
    engine.add(b.PEER, b.generate("x", [1], max_tokens=1))
    with torch.inference_mode(), pytest.raises(MemoryError):
        engine.abort(b.PEER, "x")
    engine.reply = replies
    engine.fail_all("engine_failed", "an error")
    assert engine.running == engine.waiting == 0
    engine.add(b.PEER, b.generate("y", [1], max_tokens=2))
    b.run(engine)
    assert replies.final("y").reason == "length"


def test_the_log_names_the_request(caplog: pytest.LogCaptureFixture) -> None:
    """The log contains the end of each request and each failed step."""
    bad = next(i for i in range(b.VOCABULARY) if i not in greedy(BUILT["gru"], [1, 2, 3], 6))
    engine, _ = b.decoder(Faulty(BUILT["gru"], bad, "raises"), slots=4)
    caplog.handler.addFilter(telemetry._AddIds())
    with caplog.at_level("INFO"):
        for id, prompt in (("good", [1, 2, 3]), ("bad", [bad]), ("empty", [])):
            message = b.generate(id, prompt, max_tokens=2)
            engine.add(b.PEER, msgspec.structs.replace(message, request_id=f"req-{id}"))
            b.run(engine)
    lines = {r.request_id: (r.levelname, r.message) for r in caplog.records if r.request_id}  # type: ignore[attr-defined]
    assert lines["req-good"][0] == "INFO" and lines["req-good"][1].startswith("length after 2 tokens")
    assert lines["req-bad"][0] == "WARNING" and lines["req-bad"][1].startswith("engine_failed")
    assert lines["req-empty"][1].startswith("invalid_request")


def test_a_second_request_with_an_open_id_is_refused() -> None:
    engine, replies = b.decoder(BUILT["rnn"])
    engine.add(b.PEER, b.generate("x", [1], max_tokens=2))
    engine.add(b.PEER, b.generate("x", [1], max_tokens=2))
    assert replies.all.pop("x")[0].code == "invalid_request"
    b.run(engine)
    assert replies.final("x").reason == "length"


def test_requests_of_peers_that_are_gone_are_dropped() -> None:
    engine, replies = b.decoder(BUILT["rnn"], slots=1)
    engine.add(b"gone", b.generate("x", [1], max_tokens=9))
    engine.add(b"gone", b.generate("y", [1], max_tokens=9))
    engine.add(b.PEER, b.generate("z", [1], max_tokens=2))
    with torch.inference_mode():
        engine.step()
    engine.forget({b"gone"}.__contains__)
    b.run(engine)
    assert engine.counters["aborted"] == 2
    assert replies.final("z").reason == "length"


@pytest.mark.parametrize("name", NETWORKS)
def test_bfloat16_generates_and_reports(name: str) -> None:
    built = b.network(b.config(name)).to(torch.bfloat16)
    engine, replies = b.decoder(built)
    for i in range(6):
        engine.add(
            b.PEER, b.generate(str(i), prompt_of(i, 3 + i), max_tokens=5, temperature=i / 4, top_p=0.9, logprobs=1)
        )
    b.run(engine)
    assert all(len(replies.tokens(str(i))) == 5 for i in range(6))
    expected, lead = b.plain_greedy(built, prompt_of(0, 3), 5)
    assert replies.tokens("0") == expected or lead < 0.2
