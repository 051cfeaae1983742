"""Sampling: for each row of a step, chooses the next token from the row's logits.

The logits of a row are transformed in this order, according to the options of that row only:

1. repetition penalty, over prompt and output (CTRL: Keskar et al., 2019, section 4.1); frequency and presence penalty,
   over the output (as in the OpenAI API); `logit_bias`; end tokens are excluded until the output has
   `min_tokens` tokens;
2. temperature, top-k (Fan et al., 2018), top-p (nucleus sampling: Holtzman et al., 2020, section 3.1), min-p (Nguyen et
   al., 2024), typical-p (Meister et al., 2023). Each filter applies to the tokens that the previous filters keep.

A token is drawn by inverting the cumulative distribution at a single uniform random number, which depends only on
(seed, choice, position). A request with a seed therefore produces the same output regardless of the other requests in
the batch. A row needs only one random number, not one for each token of the vocabulary.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Sequence as Rows
from dataclasses import dataclass

import torch
from torch import Tensor

from app.engine.sequence import Sequence
from app.wire.engine import SamplingParams, TokenLogprob

COLDEST = 1e-30  # the lowest temperature used: dividing by it is safe in float32, and the result equals greedy decoding
NOT_FINITE = -1  # returned in place of a token id
NEAR = 128  # the number of most probable tokens that are examined before all tokens are sorted


@dataclass(frozen=True, slots=True)
class Sampled:
    """The next id for each row, and log-probabilities for the rows that request them.

    An id is `NOT_FINITE` if the logits of the row contain NaN or plus infinity, or if every token is excluded.
    """

    ids: list[int]
    logprobs: list[TokenLogprob | None]


def sample(logits_BV: Tensor, rows: Rows[Sequence]) -> Sampled:
    """Choose the next id for each row from logits_BV."""
    if all(row.plain for row in rows):
        # The common case, greedy without penalties: `max` also propagates NaN, so one pass over the logits is enough.
        best_B, ids_B = logits_BV.max(-1)
        ids = ids_B.tolist()
        finite = map(math.isfinite, best_B.tolist())
        return Sampled([i if ok else NOT_FINITE for i, ok in zip(ids, finite, strict=True)], [None] * len(ids))
    raw_BV = logits_BV.float()
    scores_BV = _with_penalties(raw_BV, rows)
    best_B, ids_B = scores_BV.max(-1)
    random = [i for i, row in enumerate(rows) if row.random]
    if random:
        index_R = torch.tensor(random, device=raw_BV.device)
        ids_B[index_R] = _draw(scores_BV[index_R], [rows[i] for i in random])
    # Check the logits before and after the changes: penalties can hide an infinite logit, and a bias can create one.
    usable = (torch.isfinite(best_B) & torch.isfinite(raw_BV.amax(-1))).tolist()
    ids = [i if ok else NOT_FINITE for i, ok in zip(ids_B.tolist(), usable, strict=True)]
    return Sampled(ids, _logprobs(raw_BV, ids, rows))


def uniform(seed: int, choice: int, position: int) -> float:
    """Return a pseudo-random number in [0, 1). The number depends only on the arguments, not on the machine or release.

    The number is computed from a hash, because the output of torch's generator depends on the device and on how many
    numbers have already been drawn. Only the upper 53 bits of the hash are used, because a float has a 53-bit
    significand.
    """
    words = struct.pack("<3Q", seed % 2**64, choice % 2**64, position)
    bits = int.from_bytes(hashlib.blake2b(words, digest_size=8).digest(), "little")
    return (bits >> 11) * 2.0**-53


# --- penalties and bias -----------------------------------------------------------------------------------------


def _with_penalties(raw_BV: Tensor, rows: Rows[Sequence]) -> Tensor:
    """Return scores_BV, the logits after step 1 in the module docstring. raw_BV is not modified."""
    if not any(row.edited for row in rows):
        return raw_BV
    scores_BV = raw_BV.clone()
    for scores_V, row in zip(scores_BV, rows, strict=True):
        if row.edited:
            _penalise(scores_V, row)
    return scores_BV


def _penalise(scores_V: Tensor, row: Sequence) -> None:
    """Apply step 1 to a row in place. Visits only tokens that are named in options or have already occurred."""
    params = row.params
    if params.repetition_penalty != 1:
        seen_N = _ids(row.seen, scores_V)
        score_N = scores_V[seen_N]
        penalty = params.repetition_penalty
        # Negative scores are multiplied, since dividing them would make the token more probable.
        # A quotient that is too large for its type would become infinite, and all probabilities NaN.
        largest = torch.finfo(scores_V.dtype).max / 4
        scores_V[seen_N] = torch.where(score_N > 0, (score_N / penalty).clamp(max=largest), score_N * penalty)
    if row.output and (params.frequency_penalty or params.presence_penalty):
        count_N = torch.tensor(list(row.counts.values()), dtype=scores_V.dtype, device=scores_V.device)
        scores_V[_ids(row.counts, scores_V)] -= params.frequency_penalty * count_N + params.presence_penalty
    if params.logit_bias:
        bias_N = torch.tensor(list(params.logit_bias.values()), dtype=scores_V.dtype, device=scores_V.device)
        scores_V[_ids(params.logit_bias, scores_V)] += bias_N
    if len(row.output) < params.min_tokens:
        excluded = [token for token in row.stop_ids if 0 <= token < len(scores_V)]
        scores_V[_ids(excluded, scores_V)] = -math.inf


def _ids(ids: object, like: Tensor) -> Tensor:
    return torch.tensor(list(ids), dtype=torch.int64, device=like.device)  # type: ignore[call-overload]


# --- the draw ---------------------------------------------------------------------------------------------------


def _column(values: list[float], like: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.tensor(values, dtype=dtype, device=like.device)[:, None]


def _draw(scores_RV: Tensor, rows: Rows[Sequence]) -> Tensor:
    """Draw one id for each row, and return ids_R.

    The cumulative distribution is ordered by token id rather than by probability, so no row needs a full sort. Excluded
    tokens have probability 0.
    """
    temperature_R1 = _column([max(row.params.temperature, COLDEST) for row in rows], scores_RV)
    scores_RV = (scores_RV - scores_RV.amax(-1, keepdim=True)) / temperature_R1
    filtered = [i for i, row in enumerate(rows) if row.filtered]
    if len(filtered) == len(rows):
        scores_RV = _filter(scores_RV, rows)
    elif filtered:
        index_F = torch.tensor(filtered, device=scores_RV.device)
        scores_RV[index_F] = _filter(scores_RV[index_F], [rows[i] for i in filtered])
    # Sum in float64: over a large vocabulary, rounding to float32 would distort the probabilities of rare tokens.
    mass_RV = torch.softmax(scores_RV, -1).cumsum(-1, dtype=torch.float64)
    total_R1 = mass_RV[:, -1:].contiguous()
    noise = [uniform(row.params.seed, row.choice, len(row.output)) for row in rows]
    point_R1 = _column(noise, mass_RV, torch.float64) * total_R1
    # The last sum is not exactly 1, so the uniform number is scaled by that sum. The product must stay below the
    # last sum even if it is rounded up; otherwise the search would end after the last token.
    point_R1 = torch.minimum(point_R1, torch.nextafter(total_R1, torch.zeros_like(total_R1)))
    return torch.searchsorted(mass_RV, point_R1, right=True)[:, 0]


def _filter(scores_RV: Tensor, rows: Rows[Sequence]) -> Tensor:
    """Set the scores of tokens that top-k, top-p, min-p or typical-p excludes to minus infinity.

    The first three filters keep only the most probable tokens, usually a few. Therefore, the `NEAR` most probable
    tokens are examined first, and only rows in which more tokens might be kept are sorted in full. Whether a row is
    sorted in full depends only on that row, so its result does not depend on other rows in the batch.
    """
    options = [row.params for row in rows]
    near_RN, order_RN = scores_RV.topk(min(NEAR, scores_RV.shape[1]))
    keep_RN, more_R = _keep(near_RN, scores_RV, options)
    keep_RV = torch.zeros_like(scores_RV, dtype=torch.bool).scatter_(1, order_RN, keep_RN)
    wide = more_R.nonzero()[:, 0].tolist() if scores_RV.shape[1] > NEAR else []
    if wide:
        sorted_WV, order_WV = scores_RV[wide].sort(stable=True, dim=-1, descending=True)
        keep_WV, _ = _keep(sorted_WV, scores_RV[wide], [options[i] for i in wide])
        keep_RV[wide] = torch.empty_like(keep_WV).scatter_(1, order_WV, keep_WV)
    return scores_RV.masked_fill(~keep_RV, -math.inf)


def _keep(sorted_RN: Tensor, scores_RV: Tensor, options: list[SamplingParams]) -> tuple[Tensor, Tensor]:
    """Return keep_RN (which of the N most probable tokens are kept) and more_R (whether more tokens might be kept).

    `sorted_RN` contains the scores of these N tokens in descending order. The highest score is 0.
    """
    vocabulary = scores_RV.shape[1]
    top_k_R1 = _column([p.top_k if 0 < p.top_k < vocabulary else vocabulary for p in options], scores_RV)
    keep_RN = torch.arange(sorted_RN.shape[1], device=scores_RV.device) < top_k_R1
    ranked_RN = sorted_RN.masked_fill(~keep_RN, -math.inf)
    # Top-p keeps a share of this total, which is the probability of the k tokens. Without top-k, it is the probability
    # of all tokens, including those beyond the N examined here.
    total_R1 = torch.where(
        top_k_R1 < vocabulary, ranked_RN.logsumexp(-1, keepdim=True), scores_RV.logsumexp(-1, keepdim=True)
    )
    if any(p.top_p < 1 for p in options):
        top_p_R1 = _column([_mass(p.top_p) for p in options], scores_RV, torch.float64)
        # Keep a token if the tokens before it do not reach the share. The token with which the sum reaches the share
        # is therefore kept.
        keep_RN &= _mass_before((ranked_RN - total_R1).exp()) < top_p_R1
    if any(p.min_p > 0 for p in options):
        min_p_R1 = _column([p.min_p for p in options], scores_RV)
        keep_RN &= sorted_RN.exp() >= min_p_R1  # relative to the highest probability, whose score is 0
    keep_RN[:, 0] = True
    # If the last token examined is kept, the next token might be kept too. If top-k is greater than N, the total above
    # does not cover all k tokens, and the result for this row is not valid.
    more_R = keep_RN[:, -1] | ((top_k_R1 > sorted_RN.shape[1]) & (top_k_R1 < vocabulary))[:, 0]
    if any(p.typical_p < 1 for p in options):
        # Typical-p chooses among the tokens that the other filters keep. Unless more_R is set, all of these
        # tokens are among the N.
        keep_RN &= _keep_typical(_renormalised(sorted_RN, keep_RN), [_mass(p.typical_p) for p in options])
    return keep_RN, more_R


def _mass(share: float) -> float:
    """Return the limit for cumulative probabilities. A share of 1 keeps every token despite rounding errors."""
    return share if share < 1 else 2.0


def _renormalised(sorted_RV: Tensor, keep_RV: Tensor) -> Tensor:
    """Return probs_RV: the kept tokens' probabilities, which sum to 1, and 0 for all others."""
    return torch.softmax(sorted_RV.masked_fill(~keep_RV, -math.inf), -1)


def _mass_before(probs_RV: Tensor) -> Tensor:
    """For each token, return the sum of the probabilities of the tokens before it, in the given order."""
    mass_RV = probs_RV.cumsum(-1, dtype=torch.float64)
    return mass_RV - probs_RV


def _keep_typical(probs_RV: Tensor, shares: list[float]) -> Tensor:
    """Return keep_RV (which tokens are kept) by locally typical sampling (Meister et al., 2023, section 4).

    Keeps the tokens whose surprisal, -log p, is closest to the distribution's entropy, until the sum of their
    probabilities reaches the row's share.
    """
    surprise_RV = -probs_RV.log()
    # Without `where`, excluded tokens would contribute 0 times infinity, which is NaN.
    entropy_R1 = torch.where(probs_RV > 0, probs_RV * surprise_RV, 0.0).sum(-1, keepdim=True)
    order_RV = (surprise_RV - entropy_R1).abs().sort(stable=True, dim=-1).indices
    ranked_RV = probs_RV.gather(1, order_RV)
    near_RV = _mass_before(ranked_RV) < _column(shares, probs_RV, torch.float64)
    near_RV[:, 0] = True
    return torch.empty_like(near_RV).scatter_(1, order_RV, near_RV)


# --- log-probabilities ------------------------------------------------------------------------------------------


def _logprobs(raw_BV: Tensor, ids: list[int], rows: Rows[Sequence]) -> list[TokenLogprob | None]:
    """Return the log-probabilities of each row that requests them and has a valid id, and None for all other rows.

    The requesting rows are processed together, with the largest number of alternatives that any of them requests.
    """
    reports: list[TokenLogprob | None] = [None] * len(rows)
    index = [i for i, row in enumerate(rows) if row.params.logprobs is not None and ids[i] != NOT_FINITE]
    if index:
        most = max(rows[i].params.logprobs or 0 for i in index)
        batch = token_logprobs(raw_BV[torch.tensor(index, device=raw_BV.device)], [ids[i] for i in index], most)
        for i, report in zip(index, batch, strict=True):
            reports[i] = _cut(report, rows[i].params.logprobs or 0)
    return reports


def _cut(report: TokenLogprob, count: int) -> TokenLogprob:
    return TokenLogprob(report.id, report.logprob, report.top_ids[:count], report.top_logprobs[:count], report.rank)


def token_logprobs(logits_NV: Tensor, ids: Rows[int], alternatives: int) -> list[TokenLogprob]:
    """Return the log-probability and rank of ids[n] under logits_NV[n], and the top `alternatives` tokens."""
    logprobs_NV = torch.log_softmax(logits_NV.float(), -1)
    ids_N = torch.tensor(ids, dtype=torch.int64, device=logits_NV.device)
    chosen_N1 = logprobs_NV.gather(1, ids_N[:, None])
    chosen, ranks = chosen_N1[:, 0].tolist(), (logprobs_NV >= chosen_N1).sum(-1).tolist()
    top_NK, top_ids_NK = logprobs_NV.topk(min(alternatives, logits_NV.shape[1]), -1)
    parts = zip(ids, chosen, top_ids_NK.tolist(), top_NK.tolist(), ranks, strict=True)
    return [TokenLogprob(*part) for part in parts]
