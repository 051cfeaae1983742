"""Logits to next ids, for the rows of one step. Knows tensors and the options of each row; knows no network.

Order of work (as `SamplingParams` says): repetition penalty (over prompt and output), frequency and presence penalty
(over the output), bias, end tokens barred before `min_tokens`; then temperature, top-k, top-p, min-p, typical-p.

The draw inverts the distribution at one uniform number, which is a function of (seed, choice, position) alone. So a
seeded request repeats whatever its neighbours are, and a row costs one number and not one for each word.
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

COLDEST = 1e-30  # float32 can still divide by it; far below any temperature that differs from greedy
NOT_FINITE = -1
NEAR = 128  # how many of the likeliest words are looked at before all are sorted


@dataclass(frozen=True, slots=True)
class Sampled:
    """The next id of each row (`NOT_FINITE` where its logits are no numbers), and log-probabilities where asked."""

    ids: list[int]
    logprobs: list[TokenLogprob | None]


def sample(logits_BV: Tensor, rows: Rows[Sequence]) -> Sampled:
    """Choose the next id of each row."""
    if all(row.plain for row in rows):
        best_B, ids_B = logits_BV.max(-1)
        ids = ids_B.tolist()
        finite = map(math.isfinite, best_B.tolist())
        return Sampled([i if ok else NOT_FINITE for i, ok in zip(ids, finite, strict=True)], [None] * len(ids))
    raw_BV = logits_BV.float()
    scores_BV = _edited(raw_BV, rows)
    best_B, ids_B = scores_BV.max(-1)
    random = [i for i, row in enumerate(rows) if row.random]
    if random:
        index_R = torch.tensor(random, device=raw_BV.device)
        ids_B[index_R] = _draw(scores_BV[index_R], [rows[i] for i in random])
    usable = (torch.isfinite(best_B) & torch.isfinite(raw_BV.amax(-1))).tolist()
    ids = [i if ok else NOT_FINITE for i, ok in zip(ids_B.tolist(), usable, strict=True)]
    return Sampled(ids, _logprobs(raw_BV, ids, rows))


def uniform(seed: int, choice: int, position: int) -> float:
    """A number in [0, 1) that looks random and is the same for the same three numbers, everywhere and always."""
    words = struct.pack("<3Q", seed % 2**64, choice % 2**64, position)
    bits = int.from_bytes(hashlib.blake2b(words, digest_size=8).digest(), "little")
    return (bits >> 11) * 2.0**-53


# --- penalties and bias -----------------------------------------------------------------------------------------


def _edited(raw_BV: Tensor, rows: Rows[Sequence]) -> Tensor:
    if not any(row.edited for row in rows):
        return raw_BV
    scores_BV = raw_BV.clone()
    for scores_V, row in zip(scores_BV, rows, strict=True):
        if row.edited:
            _edit(scores_V, row)
    return scores_BV


def _edit(scores_V: Tensor, row: Sequence) -> None:
    params = row.params
    if params.repetition_penalty != 1:
        seen_N = _ids(row.seen, scores_V)
        kept_N = scores_V[seen_N]
        penalty = params.repetition_penalty
        scores_V[seen_N] = torch.where(kept_N > 0, kept_N / penalty, kept_N * penalty)
    if row.output and (params.frequency_penalty or params.presence_penalty):
        count_N = torch.tensor(list(row.counts.values()), dtype=scores_V.dtype, device=scores_V.device)
        scores_V[_ids(row.counts, scores_V)] -= params.frequency_penalty * count_N + params.presence_penalty
    if params.logit_bias:
        bias_N = torch.tensor(list(params.logit_bias.values()), dtype=scores_V.dtype, device=scores_V.device)
        scores_V[_ids(params.logit_bias, scores_V)] += bias_N
    if len(row.output) < params.min_tokens:
        barred = [token for token in row.stop_ids if 0 <= token < len(scores_V)]
        scores_V[_ids(barred, scores_V)] = -math.inf


def _ids(ids: object, like: Tensor) -> Tensor:
    return torch.tensor(list(ids), dtype=torch.int64, device=like.device)  # type: ignore[call-overload]


# --- the draw ---------------------------------------------------------------------------------------------------


def _column(values: list[float], like: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.tensor(values, dtype=dtype, device=like.device)[:, None]


def _draw(scores_RV: Tensor, rows: Rows[Sequence]) -> Tensor:
    """ids_R: one draw a row. Words are laid out in the order of their ids, whatever the row's options are."""
    temperature_R1 = _column([max(row.params.temperature, COLDEST) for row in rows], scores_RV)
    scores_RV = (scores_RV - scores_RV.amax(-1, keepdim=True)) / temperature_R1
    filtered = [i for i, row in enumerate(rows) if row.filtered]
    if len(filtered) == len(rows):
        scores_RV = _filter(scores_RV, rows)
    elif filtered:
        index_F = torch.tensor(filtered, device=scores_RV.device)
        scores_RV[index_F] = _filter(scores_RV[index_F], [rows[i] for i in filtered])
    mass_RV = torch.softmax(scores_RV, -1).cumsum(-1, dtype=torch.float64)
    total_R1 = mass_RV[:, -1:].contiguous()
    noise = [uniform(row.params.seed, row.choice, len(row.output)) for row in rows]
    point_R1 = _column(noise, mass_RV, torch.float64) * total_R1
    point_R1 = torch.minimum(point_R1, torch.nextafter(total_R1, torch.zeros_like(total_R1)))
    return torch.searchsorted(mass_RV, point_R1, right=True)[:, 0]


def _filter(scores_RV: Tensor, rows: Rows[Sequence]) -> Tensor:
    """Bar every word that top-k, top-p, min-p or typical-p excludes.

    The first three keep the likeliest words, so a full sort is needed only where the `NEAR` likeliest do not hold
    them all; which is a matter of each row by itself.
    """
    options = [row.params for row in rows]
    near_RN, order_RN = scores_RV.topk(min(NEAR, scores_RV.shape[1]))
    keep_RN, reaches_R = _kept(near_RN, scores_RV, options)
    keep_RV = torch.zeros_like(scores_RV, dtype=torch.bool).scatter_(1, order_RN, keep_RN)
    wide = reaches_R.nonzero()[:, 0].tolist() if scores_RV.shape[1] > NEAR else []
    if wide:
        sorted_WV, order_WV = scores_RV[wide].sort(stable=True, dim=-1, descending=True)
        keep_WV, _ = _kept(sorted_WV, scores_RV[wide], [options[i] for i in wide])
        keep_RV[wide] = torch.empty_like(keep_WV).scatter_(1, order_WV, keep_WV)
    return scores_RV.masked_fill(~keep_RV, -math.inf)


def _kept(sorted_RN: Tensor, scores_RV: Tensor, options: list[SamplingParams]) -> tuple[Tensor, Tensor]:
    """keep_RN among the N likeliest words (in falling order), and whether words beyond them might be kept too."""
    words = scores_RV.shape[1]
    top_k_R1 = _column([p.top_k if 0 < p.top_k < words else words for p in options], scores_RV)
    keep_RN = torch.arange(sorted_RN.shape[1], device=scores_RV.device) < top_k_R1
    ranked_RN = sorted_RN.masked_fill(~keep_RN, -math.inf)
    # Without top-k, words beyond the N likeliest share the mass.
    total_R1 = torch.where(
        top_k_R1 < words, ranked_RN.logsumexp(-1, keepdim=True), scores_RV.logsumexp(-1, keepdim=True)
    )
    if any(p.top_p < 1 for p in options):
        top_p_R1 = _column([_mass(p.top_p) for p in options], scores_RV, torch.float64)
        keep_RN &= _mass_before((ranked_RN - total_R1).exp()) < top_p_R1
    if any(p.min_p > 0 for p in options):
        min_p_R1 = _column([p.min_p for p in options], scores_RV)
        keep_RN &= sorted_RN.exp() >= min_p_R1  # the likeliest word's score is 0 here
    keep_RN[:, 0] = True
    # The mass of the k likeliest is known only where all k are here.
    reaches_R = keep_RN[:, -1] | ((top_k_R1 > sorted_RN.shape[1]) & (top_k_R1 < words))[:, 0]
    if any(p.typical_p < 1 for p in options):
        keep_RN &= _typical(_renormalised(sorted_RN, keep_RN), [_mass(p.typical_p) for p in options])
    return keep_RN, reaches_R


def _mass(share: float) -> float:
    """A share of 1 must keep everything, whatever the sum rounds to."""
    return share if share < 1 else 2.0


def _renormalised(sorted_RV: Tensor, keep_RV: Tensor) -> Tensor:
    return torch.softmax(sorted_RV.masked_fill(~keep_RV, -math.inf), -1)


def _mass_before(probs_RV: Tensor) -> Tensor:
    mass_RV = probs_RV.cumsum(-1, dtype=torch.float64)
    return mass_RV - probs_RV


def _typical(probs_RV: Tensor, shares: list[float]) -> Tensor:
    """keep_RV: the words whose surprise is nearest the entropy, up to a share (Meister et al. 2023, section 4)."""
    surprise_RV = -probs_RV.log()
    entropy_R1 = torch.where(probs_RV > 0, probs_RV * surprise_RV, 0.0).sum(-1, keepdim=True)
    order_RV = (surprise_RV - entropy_R1).abs().sort(stable=True, dim=-1).indices
    ranked_RV = probs_RV.gather(1, order_RV)
    near_RV = _mass_before(ranked_RV) < _column(shares, probs_RV, torch.float64)
    near_RV[:, 0] = True
    return torch.empty_like(near_RV).scatter_(1, order_RV, near_RV)


# --- log-probabilities ------------------------------------------------------------------------------------------


def _logprobs(raw_BV: Tensor, ids: list[int], rows: Rows[Sequence]) -> list[TokenLogprob | None]:
    found: list[TokenLogprob | None] = [None] * len(rows)
    asked = [i for i, row in enumerate(rows) if row.params.logprobs is not None and ids[i] != NOT_FINITE]
    if asked:
        most = max(rows[i].params.logprobs or 0 for i in asked)
        reports = token_logprobs(raw_BV[torch.tensor(asked, device=raw_BV.device)], [ids[i] for i in asked], most)
        for i, report in zip(asked, reports, strict=True):
            found[i] = _cut(report, rows[i].params.logprobs or 0)
    return found


def _cut(report: TokenLogprob, count: int) -> TokenLogprob:
    return TokenLogprob(report.id, report.logprob, report.top_ids[:count], report.top_logprobs[:count], report.rank)


def token_logprobs(logits_NV: Tensor, ids: Rows[int], alternatives: int) -> list[TokenLogprob]:
    """The log-probability and rank of ids[n] under logits_NV[n], with the best `alternatives` beside it."""
    logprobs_NV = torch.log_softmax(logits_NV.float(), -1)
    ids_N = torch.tensor(ids, dtype=torch.int64, device=logits_NV.device)
    chosen_N1 = logprobs_NV.gather(1, ids_N[:, None])
    chosen, ranks = chosen_N1[:, 0].tolist(), (logprobs_NV >= chosen_N1).sum(-1).tolist()
    top_NK, top_ids_NK = logprobs_NV.topk(min(alternatives, logits_NV.shape[1]), -1)
    parts = zip(ids, chosen, top_ids_NK.tolist(), top_NK.tolist(), ranks, strict=True)
    return [TokenLogprob(*part) for part in parts]
