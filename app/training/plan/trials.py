"""Plans the trials of an auto job, with their architectures and options.

The plan depends on the request and on counts of rows, tokens and parameters, never on a measured time.
"""

from __future__ import annotations

import math

import msgspec

from app.training.failures import BadOption
from app.training.plan.config import Settled, settle
from app.training.prepare.dataset import Dataset, Facts, Rows, Stream
from app.wire.ranges import OptionError
from app.wire.trainer import PlannedTrial, TrainSpec
from app.wire.training_options import TrainingOptions
from app.wire.training_rules import TrainingKind, applicable
from app.wire.training_rules import check as check_options
from app.wording import listed
from models.choices import ARCHITECTURES
from models.parameters import shapes

FEW_ROWS = 1000  # with fewer training rows, a second network rarely differs by more than chance
MANY_TOKENS = 20_000_000  # with more training tokens, each additional network costs hours
LINEAR_SHARE = 0.25  # the share of `max_seconds` for a linear model, relative to the share for a network
LEAST_WORK = 1000.0  # the minimum number of operations per token, for a network without matrices


def check(options: TrainingOptions, task: str | None) -> None:
    """Raise BadOption for an option that is invalid or has no effect on any network."""
    try:
        check_options(options, TrainingKind(None, task))
    except OptionError as error:
        raise BadOption(f"training.{error.field}", error.message) from None


def architectures(facts: Facts, train: Rows | Stream) -> list[str]:
    """Return the architectures to try, in order. A linear model is tried only for texts with labels or values."""
    if facts.task == "generation":
        names = ["transformer", "lstm"]
    elif facts.input == "features":
        names = ["gru", "transformer"]
    elif len(train) < FEW_ROWS or int(train.lengths_N.sum()) > MANY_TOKENS:  # type: ignore[arg-type, union-attr]
        names = ["linear", "gru"]
    else:
        names = ["linear", "gru", "transformer"]
    return [name for name in names if name in ARCHITECTURES]


def plan(spec: TrainSpec, dataset: Dataset, device: str, threads: int) -> list[tuple[PlannedTrial, Settled]]:
    """Return the trials of a job, each with its complete configuration. Raises BadOption for an option that is invalid
    or has no effect on any trial.
    """
    names = architectures(dataset.facts, dataset.train)
    options = {name: _options(spec.training, name, names, dataset.facts) for name in names}
    _check_used(spec.training, options)
    specs = [msgspec.structs.replace(spec, model=name, training=options[name]) for name in names]
    settled = [settle(trial, dataset, None, device, threads) for trial in specs]
    return [(_trial(s, c, dataset.train), c) for s, c in zip(specs, settled, strict=True)]


def _options(options: TrainingOptions, name: str, names: list[str], facts: Facts) -> TrainingOptions:
    own = applicable(options, TrainingKind(name, facts.task, facts.input))
    if options.max_seconds is None:
        return own
    shares = {each: LINEAR_SHARE if each == "linear" else 1.0 for each in names}
    return msgspec.structs.replace(own, max_seconds=options.max_seconds * shares[name] / sum(shares.values()))


def _check_used(options: TrainingOptions, of_trials: dict[str, TrainingOptions]) -> None:
    for field in TrainingOptions.__struct_fields__:
        if getattr(options, field) and all(getattr(own, field) is None for own in of_trials.values()):
            raise BadOption(f"training.{field}", f"has no effect on the network of any trial: {listed([*of_trials])}")


def _trial(spec: TrainSpec, settled: Settled, train: Rows | Stream) -> PlannedTrial:
    sizes = {name: math.prod(shape) for name, shape in shapes(settled.config).items()}
    # Tables are not counted: a token needs only a few of their rows, but is multiplied by every matrix.
    matrices = sum(size for name, size in sizes.items() if "embedding" not in name and "ngram" not in name)
    length = float(train.lengths_N.mean()) if isinstance(train, Rows) else settled.window
    tokens = (settled.total_steps or 1) * settled.batch_size * settled.accumulation * length
    return PlannedTrial(
        model=spec.model,
        training=spec.training,
        parameters=sum(sizes.values()),
        steps=settled.total_steps,
        work=tokens * max(LEAST_WORK, 6.0 * matrices),
    )
