"""Every sampling option is compared with a simple reference in Python that starts from the raw logits."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.engine import sampling
from app.engine import sequence as sequences
from app.engine.reply import Counters
from app.engine.requests import Member
from app.engine.sampling import NOT_FINITE, Sampled, sample, uniform
from app.engine.sequence import Sequence
from app.wire.engine import Generate, SamplingParams

torch.set_num_threads(1)
VOCABULARY = 30
EOS = 1


def row(prompt: list[int], output: list[int], choice: int = 0, **options: Any) -> Sequence:
    message = Generate("x", "d", "p", prompt, SamplingParams(**{"max_tokens": 100, **options}), choice)
    sequence = sequences.admit(message, b"", 10_000, Member("d", Counters(), EOS))
    ends, sequence.stop_ids = sequence.stop_ids, frozenset()
    for token in output:
        sequence.append(token)
    sequence.stop_ids = ends
    return sequence


class Unread(list[int]):
    """A list that must not be iterated over."""

    def __iter__(self) -> Any:
        raise AssertionError("the whole sequence was read for one token")


@pytest.mark.parametrize("option", ["repetition_penalty", "presence_penalty", "frequency_penalty"])
def test_penalties_do_not_read_the_whole_sequence_at_every_step(option: str) -> None:
    sequence = row([2, 3], [4, 4, 5], temperature=0, **{option: 1.5})
    sequence.prompt, sequence.output = Unread(sequence.prompt), Unread(sequence.output)
    assert draw([0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.9], sequence).ids == [6]


def draw(logits: list[float], sequence: Sequence) -> Sampled:
    return sample(torch.tensor([logits]), [sequence])


# --- the reference: plain Python, one token at a time -----------------------------------------------------------


def reference_scores(logits: list[float], prompt: list[int], output: list[int], p: SamplingParams) -> list[float]:
    scores = list(logits)
    for token in range(len(scores)):
        if p.repetition_penalty != 1 and (token in prompt or token in output):
            scores[token] = (
                scores[token] / p.repetition_penalty if scores[token] > 0 else scores[token] * p.repetition_penalty
            )
        scores[token] -= p.frequency_penalty * output.count(token)
        scores[token] -= p.presence_penalty * (token in output)
        scores[token] += p.logit_bias.get(token, 0.0)
        ends = token in p.stop_token_ids or (token == EOS and not p.ignore_eos)
        if len(output) < p.min_tokens and ends:
            scores[token] = -math.inf
    return scores


def normalised(weights: dict[int, float]) -> dict[int, float]:
    total = math.fsum(weights.values())
    return {token: weight / total for token, weight in weights.items()}


def up_to(ranked: list[int], probs: dict[int, float], share: float) -> dict[int, float]:
    """The shortest beginning of a ranking whose total probability reaches `share`. It has at least one token."""
    kept: dict[int, float] = {}
    for token in ranked:
        if kept and math.fsum(kept.values()) >= share:
            break
        kept[token] = probs[token]
    return kept


def reference_distribution(scores: list[float], p: SamplingParams) -> dict[int, float]:
    """Map each token to its probability after temperature, top-k, top-p, min-p and typical-p."""
    best = max(scores)
    probs = normalised({w: math.exp((s - best) / p.temperature) for w, s in enumerate(scores)})
    ranked = sorted(probs, key=lambda token: (-probs[token], token))
    if p.top_k:
        probs = normalised({token: probs[token] for token in ranked[: p.top_k]})
    if p.top_p < 1:
        probs = normalised(up_to([w for w in ranked if w in probs], probs, p.top_p))
    if p.min_p:
        probs = normalised({w: v for w, v in probs.items() if v >= p.min_p * max(probs.values())})
    if p.typical_p < 1:
        probs = {w: v for w, v in probs.items() if v > 0}
        entropy = -math.fsum(v * math.log(v) for v in probs.values())
        typical = sorted(probs, key=lambda w: abs(-math.log(probs[w]) - entropy))
        probs = normalised(up_to(typical, probs, p.typical_p))
    return probs


def reference_choice(probs: dict[int, float], noise: float) -> tuple[int, float]:
    """The sampled token, and the distance of the random number from the nearest bound of the token's range."""
    total = 0.0
    for token in sorted(probs):
        if total <= noise < total + probs[token]:
            return token, min(noise - total, total + probs[token] - noise)
        total += probs[token]
    return max(probs), 0.0


OPTIONS: dict[str, st.SearchStrategy[Any]] = {
    "temperature": st.sampled_from([0.0, 0.3, 0.7, 1.0, 2.5]),
    "top_k": st.sampled_from([0, 1, 3, 10, VOCABULARY, 10_000]),
    "top_p": st.sampled_from([1.0, 0.95, 0.5, 0.05]),
    "min_p": st.sampled_from([0.0, 0.05, 0.4]),
    "typical_p": st.sampled_from([1.0, 0.9, 0.3]),
    "repetition_penalty": st.sampled_from([1.0, 1.3, 0.7]),
    "presence_penalty": st.sampled_from([0.0, 0.6, -1.0]),
    "frequency_penalty": st.sampled_from([0.0, 0.4, -0.5]),
    "logit_bias": st.dictionaries(
        st.integers(0, VOCABULARY - 1), st.sampled_from([-100.0, -1.5, 2.0, 100.0]), max_size=4
    ),
    "min_tokens": st.sampled_from([0, 2, 50]),
    "stop_token_ids": st.sampled_from([(), (3,), (3, 4)]),
    "ignore_eos": st.booleans(),
    "seed": st.integers(0, 2**63 - 1),
    "logprobs": st.sampled_from([None, 0, 3]),
}
MIXED = st.fixed_dictionaries({}, optional=OPTIONS)
TOKENS = st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=6)
ROW = st.tuples(st.integers(0, 10_000), TOKENS, st.lists(st.integers(0, VOCABULARY - 1), max_size=6), MIXED)


def logits_of(seed: int) -> list[float]:
    rng = random.Random(seed)
    return torch.tensor([rng.gauss(0, 2) for _ in range(VOCABULARY)]).tolist()


def check(logits: list[float], sequence: Sequence, drawn: int) -> None:
    params = sequence.params
    scores = reference_scores(logits, sequence.prompt, sequence.output, params)
    if params.temperature == 0:
        assert scores[drawn] == pytest.approx(max(scores), abs=1e-5)
        return
    probs = reference_distribution(scores, params)
    expected, margin = reference_choice(probs, uniform(params.seed, sequence.choice, len(sequence.output)))
    if margin > 1e-5:  # closer to a bound, the rounding of float32 may decide
        assert drawn == expected


@pytest.mark.parametrize("near", [4, 128])  # with and without a full sort
@given(rows=st.lists(ROW, min_size=1, max_size=5))
@example(rows=[(0, [0], [], {}), (0, [0], [], {}), (355, [0], [0], {"top_k": 10, "top_p": 0.5})])
@settings(max_examples=250)
def test_rows_of_mixed_batches_equal_the_reference(
    near: int, rows: list[tuple[int, list[int], list[int], Any]]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sampling, "NEAR", near)
        compare(rows)


def compare(rows: list[tuple[int, list[int], list[int], Any]]) -> None:
    batch = [row(prompt, output, choice=i, **options) for i, (_, prompt, output, options) in enumerate(rows)]
    logits = [logits_of(seed) for seed, *_ in rows]
    drawn = sample(torch.tensor(logits), batch)
    for values, sequence, token, report in zip(logits, batch, drawn.ids, drawn.logprobs, strict=True):
        check(values, sequence, token)
        assert (report is None) == (sequence.params.logprobs is None)
        alone = draw(values, sequence)
        assert (alone.ids, alone.logprobs) == ([token], [report])  # the other rows change nothing


@pytest.mark.parametrize("options", [
    {"temperature": 0.5}, {"temperature": 1.7}, {"top_k": 4}, {"top_p": 0.6}, {"min_p": 0.2}, {"typical_p": 0.5},
    {"repetition_penalty": 1.8}, {"presence_penalty": 1.0}, {"frequency_penalty": 0.8},
    {"logit_bias": {2: 3.0, 5: -9.0}}, {"min_tokens": 9},
    {"min_tokens": 9, "stop_token_ids": (4,)}, {"min_tokens": 9, "ignore_eos": True},
    {"top_k": 8, "top_p": 0.8, "min_p": 0.1, "typical_p": 0.9, "temperature": 1.3},
], ids=str)  # fmt: skip
def test_each_option_has_the_distribution_of_the_reference(options: dict[str, Any]) -> None:
    """Over many seeds, the frequencies match the reference probabilities, and excluded tokens are never drawn."""
    logits, prompt, output = logits_of(5), [2, 3, 4], [4, 4, 7]
    count = 4000
    batch = [row(prompt, output, seed=seed, **options) for seed in range(count)]
    drawn = sample(torch.tensor([logits]).expand(count, -1), batch).ids
    params = batch[0].params
    probs = reference_distribution(reference_scores(logits, prompt, output, params), params)
    assert set(drawn) <= {token for token, value in probs.items() if value > 0}
    for token, value in probs.items():
        assert drawn.count(token) / count == pytest.approx(value, abs=5 * math.sqrt(value * (1 - value) / count) + 1e-4)


def test_logprobs_are_those_of_the_raw_logits() -> None:
    logits = logits_of(8)
    expected = torch.tensor(logits).log_softmax(-1)
    options = {"temperature": 0.2, "logit_bias": {6: 100.0}, "top_k": 2, "logprobs": 4}
    report = draw(logits, row([1], [2], **options)).logprobs[0]
    assert report and report.id == 6
    assert report.logprob == pytest.approx(float(expected[6]), abs=1e-5)
    assert report.top_ids == expected.topk(4).indices.tolist()
    assert report.top_logprobs == pytest.approx(expected.topk(4).values.tolist(), abs=1e-5)


def test_noise_is_uniform_and_depends_on_seed_choice_and_position_only() -> None:
    assert uniform(1, 2, 3) == uniform(1, 2, 3)
    assert len({uniform(s, c, i) for s in range(5) for c in range(5) for i in range(5)}) == 125
    values = sorted(uniform(seed, 0, position) for seed in range(50) for position in range(100))
    distance = max(abs(value - (i + 0.5) / len(values)) for i, value in enumerate(values))
    assert distance < 1.63 / math.sqrt(len(values))  # Kolmogorov-Smirnov at 1 %
    assert uniform(2**64 - 1, 0, 0) == uniform(-1, 0, 0) < 1


def test_greedy_takes_the_fast_path_and_the_lower_id_wins_a_tie() -> None:
    assert row([1], [], temperature=0.0, top_p=0.5, top_k=2, seed=3).plain
    assert not row([1], [], temperature=0.0, logprobs=0).plain
    assert draw([0.0, 3.0, 3.0], row([1], [], temperature=0.0)).ids == [1]


@pytest.mark.parametrize("options", [{"temperature": 0.0}, {"temperature": 1.0}, {"temperature": 1.0, "top_p": 0.5}])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_logits_that_are_not_finite_affect_only_their_row(options: dict[str, Any], bad: float) -> None:
    good, spoilt = logits_of(1), logits_of(2)
    spoilt[4] = bad
    batch = [row([1], [], **options), row([1], [], **options)]
    ids = sample(torch.tensor([good, spoilt]), batch).ids
    assert ids[1] == NOT_FINITE
    assert ids[0] == draw(good, batch[0]).ids[0] != NOT_FINITE


@pytest.mark.parametrize("temperature", [1e-30, 1e-308, 1e30])
def test_extreme_temperatures_stay_in_range(temperature: float) -> None:
    logits = logits_of(3)
    ids = [draw(logits, row([1], [], temperature=temperature, seed=seed)).ids[0] for seed in range(20)]
    if temperature < 1:
        assert set(ids) == {max(range(VOCABULARY), key=logits.__getitem__)}
    else:
        assert len(set(ids)) > 8 and all(0 <= i < VOCABULARY for i in ids)
