"""Determines the duration of a training run: its steps, its evaluations, and its learning rate schedule."""

from __future__ import annotations

from typing import Any

from app.training.ngram_recipe import Branch, NgramRecipe
from app.training.prepare.dataset import Facts, Rows
from app.training.recipes import Recipe
from app.wire.training_options import TrainingOptions
from models.config import ModelConfig

EVALUATIONS = 10  # the number of evaluations for generation, and for runs limited by time


def steps(options: TrainingOptions, recipe: Recipe, train: Any, batch_size: int, window: int) -> tuple[int | None, int]:
    """Return the total number of steps and the steps per epoch. The total is None if `max_seconds` is the only
    limit.
    """
    count = len(train) if isinstance(train, Rows) else (len(train.ids_T) - 1) // min(window, len(train.ids_T) - 1)
    per_step = batch_size * (options.accumulation or 1)
    per_epoch = max(1, -(-count // per_step) if isinstance(train, Rows) else count // per_step)
    limits = [] if options.max_steps is None else [options.max_steps]
    if options.epochs is not None:
        limits.append(max(1, round(options.epochs * per_epoch)))
    if not limits and options.max_seconds is None:
        limits.append(max(1, round(recipe.epochs * per_epoch)))
    return (min(limits) if limits else None), per_epoch


def branch_steps(model: ModelConfig, branch: Branch | None, total_steps: int | None, per_epoch: int) -> int:
    """Return the number of steps that train the n-gram branch.

    Returns 0 if there is no branch, and for language models, whose branch is trained during the whole run.
    """
    if not isinstance(branch, NgramRecipe):
        return 0
    planned = max(1, round(branch.epochs * per_epoch))
    if model.architecture == "linear":
        return total_steps or planned
    return min(planned, total_steps or planned)


def eval_every(total_steps: int | None, per_epoch: int, facts: Facts, schedule: str) -> int | None:
    """Return the number of steps between evaluations, or None if the total number of steps is unknown.

    For generation, the interval is a tenth of all steps. Otherwise, it is an epoch or a twentieth of all steps,
    whichever is more. With the schedule `plateau`, half an epoch is used instead of an epoch, to detect a plateau
    sooner.
    """
    if total_steps is None:
        return None
    if facts.task == "generation":
        return max(1, -(-total_steps // EVALUATIONS))
    regular = -(-per_epoch // 2) if schedule == "plateau" else per_epoch
    return min(max(regular, -(-total_steps // 20)), max(1, total_steps))


def schedule(options: TrainingOptions, recipe: Recipe, facts: Facts, metric: str) -> str:
    """Return the learning rate schedule.

    By default, a plateau ends runs on texts with targets, unless the request sets a length or a patience. If
    evaluations cannot be compared (`metric` is `last`), the learning rate decays over the whole run.
    """
    open_ended = _stops_early(options, facts) and options.patience is None and recipe.patience > 0
    return options.schedule or ("plateau" if open_ended and metric != "last" else recipe.schedule)


def warmup_ratio(recipe: Recipe, total_steps: int | None) -> float:
    """Return the share of the run during which the learning rate rises."""
    return recipe.warmup_ratio if total_steps is None else min(0.1, recipe.warmup_steps / total_steps)


def patience(options: TrainingOptions, facts: Facts, recipe: Recipe) -> int:
    """Return the number of evaluations without improvement after which the run stops; 0 disables early stopping.

    Runs on texts with targets stop early, because they overfit quickly, unless the request sets patience or a length.
    """
    if options.patience is not None:
        return options.patience
    return recipe.patience if _stops_early(options, facts) else 0


def _stops_early(options: TrainingOptions, facts: Facts) -> bool:
    limits = (options.epochs, options.max_steps, options.max_seconds)
    return facts.task != "generation" and facts.input == "tokens" and limits == (None, None, None)
