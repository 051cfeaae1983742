"""Fits the scale and bias that calibrate a network's logits, by penalised maximum likelihood.

For one label per row: temperature scaling (Guo et al., 2017, section 4), where `scale` is 1 / temperature, and
optionally a bias per label. For any number of labels per row: Platt scaling of each label (Platt, 1999).

The penalties act like a few additional rows with the network's own probabilities: they reduce the effect of chance in a
fit to few rows, and keep the scale finite if all predictions are correct. Each problem is convex, and is solved with
Newton's method in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

SCALE_PRECISION, BIAS_PRECISION = 8.0, 1.0  # the Gaussian priors have mean 1 for a scale, 0 for a bias
LEAST, MOST = 0.02, 50.0  # the range of the scale
_STEPS, _HALVINGS, _TOLERANCE = 50, 30, 1e-9

FitObjective = Callable[[Tensor], Tensor]
Derivatives = Callable[[Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True, slots=True)
class Affine:
    """Calibrated logits are `scale_C * logits_NC + bias_C`. Each tensor has a single entry or one entry per label."""

    scale_C: Tensor
    bias_C: Tensor

    def __call__(self, logits_NC: Tensor) -> Tensor:
        return logits_NC * self.scale_C + self.bias_C


def fit_classes(logits_NC: Tensor, targets_N: Tensor, *, biased: bool) -> Affine:
    """Fit one scale for all labels and, if `biased` is true, a bias per label, to rows with one label each.

    Args:
        logits_NC: float64.
        targets_N: the index of each row's label.
        biased: whether to fit a bias per label. The predicted label of a row may then change.
    """
    centred_NC = logits_NC - logits_NC.mean(1, keepdim=True)
    problem = _Classes(centred_NC, targets_N, biased)
    start_P = torch.zeros(1 + (logits_NC.shape[1] if biased else 0), dtype=torch.float64)
    start_P[0] = 1.0
    best_P = _minimise(problem.value, problem.derivatives, start_P)
    return Affine(best_P[:1], best_P[1:] if biased else torch.zeros(1, dtype=torch.float64))


def fit_scale(logits_NC: Tensor, targets_NC: Tensor) -> Affine:
    """Fit one scale for all labels. There may be any number of labels per row: `targets_NC` contains zeros and ones."""
    logits_M1, targets_M1 = logits_NC.reshape(-1, 1), targets_NC.reshape(-1, 1)
    problem = _Labels(logits_M1, targets_M1, biased=False)
    best_1P = _minimise(problem.value, problem.derivatives, torch.ones(1, 1, dtype=torch.float64))
    return Affine(best_1P[:, 0], torch.zeros(1, dtype=torch.float64))


def fit_labels(logits_NC: Tensor, targets_NC: Tensor) -> Affine:
    """Fit a scale and a bias for each label.

    There may be any number of labels per row: `targets_NC` contains zeros and ones.
    """
    problem = _Labels(logits_NC, targets_NC, biased=True)
    start_CP = torch.tensor([[1.0, 0.0]], dtype=torch.float64).repeat(logits_NC.shape[1], 1)
    best_CP = _minimise(problem.value, problem.derivatives, start_CP)
    return Affine(best_CP[:, 0], best_CP[:, 1])


class _Classes:
    """The penalised negative log-likelihood for one label per row, with the parameters (scale, bias of each label)."""

    def __init__(self, logits_NC: Tensor, targets_N: Tensor, biased: bool) -> None:
        self._logits_NC, self._biased = logits_NC, biased
        self._targets_N1 = targets_N[:, None]
        self._true = logits_NC.gather(1, self._targets_N1).sum()
        self._counts_C = torch.bincount(targets_N, minlength=logits_NC.shape[1]).double()

    def _scaled(self, theta_P: Tensor) -> Tensor:
        scaled_NC = self._logits_NC * theta_P[0]
        return scaled_NC + theta_P[1:] if self._biased else scaled_NC

    def value(self, theta_P: Tensor) -> Tensor:
        """Return the loss, summed over the rows, plus the penalty."""
        scaled_NC = self._scaled(theta_P)
        loss = scaled_NC.logsumexp(1).sum() - scaled_NC.gather(1, self._targets_N1).sum()
        return loss + _penalty(theta_P)

    def derivatives(self, theta_P: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gradient (P,) and the Hessian (P, P) of `value`."""
        logits_NC, probs_NC = self._logits_NC, self._scaled(theta_P).softmax(1)
        mean_N1 = (probs_NC * logits_NC).sum(1, keepdim=True)
        slope_1 = (mean_N1.sum() - self._true)[None]
        deviations_NC = probs_NC * (logits_NC - mean_N1)
        curvature = (deviations_NC * logits_NC).sum()
        if not self._biased:
            return _with_penalty(theta_P, slope_1, curvature[None, None])
        totals_C, mixed_C = probs_NC.sum(0), deviations_NC.sum(0)
        inner_CC = torch.diag(totals_C) - probs_NC.T @ probs_NC
        top = torch.cat([curvature[None], mixed_C])[None]
        hessian_PP = torch.cat([top, torch.cat([mixed_C[:, None], inner_CC], 1)])
        return _with_penalty(theta_P, torch.cat([slope_1, totals_C - self._counts_C]), hessian_PP)


class _Labels:
    """The penalised negative log-likelihood of each label. The parameters (C, P) are each label's scale and bias."""

    def __init__(self, logits_NC: Tensor, targets_NC: Tensor, *, biased: bool) -> None:
        self._logits_NC, self._targets_NC, self._biased = logits_NC, targets_NC, biased

    def _scaled(self, theta_CP: Tensor) -> Tensor:
        scaled_NC = self._logits_NC * theta_CP[:, 0]
        return scaled_NC + theta_CP[:, 1] if self._biased else scaled_NC

    def value(self, theta_CP: Tensor) -> Tensor:
        """Return the loss of each label (C,), summed over the rows, plus its penalty. The labels are independent."""
        scaled_NC = self._scaled(theta_CP)
        losses_NC = torch.nn.functional.softplus(scaled_NC) - self._targets_NC * scaled_NC
        return losses_NC.sum(0) + _penalty(theta_CP)

    def derivatives(self, theta_CP: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gradients (C, P) and the Hessians (C, P, P) of `value`."""
        logits_NC, probs_NC = self._logits_NC, self._scaled(theta_CP).sigmoid()
        errors_NC, weights_NC = probs_NC - self._targets_NC, probs_NC * (1 - probs_NC)
        slope_C, weighted_NC = (errors_NC * logits_NC).sum(0), weights_NC * logits_NC
        curvature_C = (weighted_NC * logits_NC).sum(0)
        if not self._biased:
            return _with_penalty(theta_CP, slope_C[:, None], curvature_C[:, None, None])
        slope_CP = torch.stack([slope_C, errors_NC.sum(0)], 1)
        mixed_C = weighted_NC.sum(0)
        hessian_CPP = torch.stack([curvature_C, mixed_C, mixed_C, weights_NC.sum(0)], 1).reshape(-1, 2, 2)
        return _with_penalty(theta_CP, slope_CP, hessian_CPP)


def _precisions(theta: Tensor) -> tuple[Tensor, Tensor]:
    """Return the centres and precisions of the parameters' priors: first the scale, then the biases."""
    centre, precision = torch.zeros_like(theta), torch.full_like(theta, BIAS_PRECISION)
    centre[..., 0], precision[..., 0] = 1.0, SCALE_PRECISION
    return centre, precision


def _penalty(theta: Tensor) -> Tensor:
    centre, precision = _precisions(theta)
    return 0.5 * (precision * (theta - centre) ** 2).sum(-1)


def _with_penalty(theta: Tensor, slope: Tensor, hessian: Tensor) -> tuple[Tensor, Tensor]:
    centre, precision = _precisions(theta)
    return slope + precision * (theta - centre), hessian + torch.diag_embed(precision)


def _minimise(value: FitObjective, derivatives: Derivatives, theta: Tensor) -> Tensor:
    """Minimise with Newton's method and step halving, for one problem (P) or a batch of independent problems (C, P).

    The first parameter, the scale, stays within its range.
    """
    now = value(theta)
    for _ in range(_STEPS):
        slope, hessian = derivatives(theta)
        step = torch.linalg.solve(hessian, slope[..., None])[..., 0]
        decrease = (slope * step).sum(-1) / 2  # the expected decrease of the value, if it were a quadratic function
        if bool((decrease.abs() <= _TOLERANCE * (1.0 + now.abs())).all()):
            break
        moved, lower = _improve(value, theta, step, now)
        if bool((lower == now).all()):  # no step lowers the value, for example at the end of the scale's range
            break
        theta, now = moved, lower
    return theta


def _improve(value: FitObjective, theta: Tensor, step: Tensor, now: Tensor) -> tuple[Tensor, Tensor]:
    """Halve the step until the value decreases.

    Returns the new parameters and value, which are unchanged if no step decreases the value.
    """
    best, lowest, open_ = theta, now, torch.ones_like(now, dtype=torch.bool)
    for halving in range(_HALVINGS):
        candidate = theta - step * 0.5**halving
        candidate[..., 0] = candidate[..., 0].clamp(LEAST, MOST)
        reached = value(candidate)
        taken = open_ & (reached < lowest)
        best, lowest = torch.where(taken[..., None], candidate, best), torch.where(taken, reached, lowest)
        open_ = open_ & ~taken
        if not open_.any():
            break
    return best, lowest
