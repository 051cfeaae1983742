"""The training loop, to be read from top to bottom. A step is a pure function of the state before it.

Randomness is drawn anew at each step from (seed, step), and the order of the data likewise, so a run that was killed
and went on from a resume point ends with the same weights, bit for bit. Where `max_seconds` is given the clock says
how far the training is, and that promise is void; otherwise no clock is read for anything but reports.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from app.training.events import Events
from app.training.failures import StopRequested, diverged
from app.training.loop import optim
from app.training.loop.batches import Batch, RowBatches, StreamBatches, derive
from app.training.loop.evaluate import Network, Part, evaluate, to_device
from app.training.loop.objective import objective
from app.training.loop.progress import Progress
from app.training.plan.config import EVALUATIONS, Settled
from app.training.prepare.dataset import Dataset, Rows, Stream
from app.wire.trainer import Metrics

REPORTS = 100
EVALUATION_SHARE = 0.05  # of a limited time
PATIENT_STEPS = 20  # steps in a row with an absurd loss, before the training counts as diverged


@dataclass(slots=True)
class Hooks:
    """What the loop asks of the program around it."""

    events: Events
    stopping: Callable[[], bool]
    save: Callable[[], None]  # a resume point, now
    save_due: Callable[[], bool]
    keep: Callable[[dict[str, float]], None]  # these weights are the best so far
    clock: Callable[[], float] = time.monotonic


class Training:
    def __init__(self, settled: Settled, prepared: Dataset, network: Network, state: Progress, hooks: Hooks) -> None:
        self.settled, self.prepared, self.network = settled, prepared, network
        self.state, self.hooks = state, hooks
        self.averaged: dict[str, Tensor] = {}
        if settled.averaging:
            self.averaged = {name: p.detach().clone() for name, p in network.named_parameters()}
        self._trained = [p for p in self.network.parameters() if p.requires_grad]
        self.optimizer = optim.build(self.network, settled)
        self.batches = batches(settled, self.prepared)
        weights = settled.class_weights
        weights_C = None if weights is None else torch.tensor(weights, device=settled.device)
        self.objective = objective(self.network, weights_C, settled.label_smoothing)
        self._specials = torch.tensor(prepared.facts.specials, dtype=torch.int64, device=settled.device)
        self._ceiling = ceiling(settled, prepared)
        self._ticked = hooks.clock()
        self._started = (self.hooks.clock(), self.state.step, self.state.trained_tokens)

    # The state's tensors, and back.

    def tensors(self) -> dict[str, Tensor]:
        found = {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}
        found |= {f"averaged.{name}": tensor for name, tensor in self.averaged.items()}
        return found | {f"moments.{name}": tensor for name, tensor in self.optimizer.moments().items()}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        self.network.load_state_dict(_under("network.", tensors))
        self.averaged = _under("averaged.", tensors)
        self.optimizer.restore(_under("moments.", tensors))

    # The loop.

    def run(self) -> None:
        """Train to the end. Raises StopRequested, or TrainingFailure `diverged`."""
        self.network.train()
        self._ticked = self.hooks.clock()
        while True:
            self._tick()
            if self._evaluation_due():
                self._evaluate()
                self.hooks.save()
                self._tick()
            if self.finished:
                return
            self._step()
            self._report_if_due()
            self._check_stop()
            if self.hooks.save_due():
                self.hooks.save()

    def _tick(self) -> None:
        """Count the time since the last tick, whatever it went into: steps, evaluations, resume points, reports."""
        now = self.hooks.clock()
        self.state.elapsed, self._ticked = self.state.elapsed + now - self._ticked, now

    @property
    def progress(self) -> float:
        """From 0 to 1: the furthest of steps and time."""
        steps, seconds = self.settled.total_steps, self.settled.max_seconds
        by_steps = self.state.step / steps if steps else 0.0
        return min(1.0, max(by_steps, self.state.elapsed / seconds if seconds else 0.0))

    @property
    def finished(self) -> bool:
        return self.progress >= 1.0 or self.hopeless

    @property
    def hopeless(self) -> bool:
        """Whether so many evaluations brought nothing better that more steps are not worth their time."""
        return 0 < self.settled.patience <= self.state.without_gain

    def _step(self) -> None:
        settled, state = self.settled, self.state
        torch.manual_seed(derive(settled.seed, "step", state.step))
        rate = optim.learning_rate(settled, self.progress)
        pieces = [to_device(piece, settled.device) for piece in self._pieces()]
        weight = sum(map(self.objective.weight, pieces))
        loss = 0.0
        for piece in pieces:
            with self._precision():
                outcome = self.objective(self._dropped(piece))
            (outcome.loss / max(weight, 1e-9)).backward()  # type: ignore[no-untyped-call]
            loss += float(outcome.loss.detach())
            state.correct += int(outcome.correct)
            state.count += outcome.count
        norm = torch.nn.utils.clip_grad_norm_(self._trained, settled.max_grad_norm)
        self._check(loss / max(weight, 1e-9), float(norm))
        self.optimizer.step(rate)
        self._average()
        state.loss, state.weight = state.loss + loss, state.weight + weight
        state.trained_tokens += sum(piece.tokens for piece in pieces)
        state.step += 1

    def _pieces(self) -> Iterator[Batch]:
        for k in range(self.settled.accumulation):
            yield from self.batches.pieces(self.state.step * self.settled.accumulation + k)

    def _dropped(self, batch: Batch) -> Batch:
        """Some tokens of texts made blank, so that no single word is relied upon; never one that is no text."""
        facts, share = self.prepared.facts, self.settled.token_dropout
        if not share or facts.blank is None or facts.input != "tokens":
            return batch
        dropped_BT = torch.rand(batch.inputs.shape, device=batch.inputs.device) < share
        dropped_BT &= ~torch.isin(batch.inputs, self._specials)
        return Batch(batch.inputs.masked_fill(dropped_BT, facts.blank), batch.lengths_B, batch.targets)

    def _precision(self) -> AbstractContextManager[Any]:
        if self.settled.precision == "float32":
            return nullcontext()
        return torch.autocast(self.settled.device, dtype=torch.bfloat16)

    def _average(self) -> None:
        """A moving mean of the weights, which does better than the last ones; it forgets the beginning fast."""
        if self.averaged:
            decay = min(self.settled.averaging, (1.0 + self.state.step) / (10.0 + self.state.step))
            with torch.no_grad():
                pairs = [(self.averaged[name], p.detach()) for name, p in self.network.named_parameters()]
                torch._foreach_lerp_([old for old, _ in pairs], [fresh for _, fresh in pairs], 1.0 - decay)

    def _check(self, loss: float, norm: float) -> None:
        """Raise where training has gone off for good: a loss that is no number, or absurd for many steps."""
        self.state.bad_steps = self.state.bad_steps + 1 if loss > self._ceiling else 0
        if math.isfinite(loss) and math.isfinite(norm) and self.state.bad_steps < PATIENT_STEPS:
            return
        raise diverged(f"the loss at step {self.state.step + 1} is {loss:.4g}", self.settled.learning_rate)

    # Looking at it.

    def _evaluation_due(self) -> bool:
        state, every = self.state, self.settled.eval_every
        if state.step == 0 or state.evaluated == state.step:
            return False
        if self.finished:
            return True
        if every is not None:
            return state.step % every == 0
        # The clock decides here anyway, so it also keeps evaluations from eating the time of a slow machine.
        cheap = state.evaluating <= EVALUATION_SHARE * state.elapsed
        return cheap and int(self.progress * EVALUATIONS) > state.evaluations

    def _evaluate(self) -> None:
        state, began = self.state, self.hooks.clock()
        with self.weights():
            found = evaluate(self.network, self._part(), self._check_stop)
        check_figures("validation", found, state.step, self.settled)
        state.evaluated = state.step
        state.evaluations += 1
        state.evaluating += self.hooks.clock() - began
        data = validation(found, full=self.settled.eval_rows is None)
        value = found[self.settled.metric]
        better = state.best_value is None or (value < state.best_value) == (self.settled.metric == "loss")
        if better and value != state.best_value:
            state.best_value, state.best_step, state.without_gain = value, state.step, 0
            state.best_metrics = data | self._train_figures()
            with self.weights():
                self.hooks.keep(state.best_metrics)
        else:
            state.without_gain += 1
        self._report(data)

    def _part(self) -> Part:
        return Part(self.prepared.validation, self.prepared.facts, self.settled.device, self.settled.eval_rows)

    def weights(self) -> AbstractContextManager[None]:
        """The weights that are judged and kept: the averaged ones, where there are any."""
        return _Swapped(self.network, self.averaged) if self.averaged else nullcontext()

    def _check_stop(self) -> None:
        if self.hooks.stopping():
            raise StopRequested

    def _report_if_due(self) -> None:
        if _report_step(self.state.step, self.settled.total_steps) and not self._evaluation_due():
            self._report({})

    def _train_figures(self) -> dict[str, float]:
        state = self.state
        figures = {"train_loss": state.loss / max(state.weight, 1e-9)}
        if self.prepared.facts.task != "regression":
            figures["train_mean_token_accuracy"] = state.correct / max(1, state.count)
        return figures

    def _report(self, data: dict[str, float]) -> None:
        self._tick()
        state = self.state
        figures = self._train_figures() if state.count else {}
        figures |= {"lr": optim.learning_rate(self.settled, self.progress)} | data
        state.history.append({"step": state.step} | figures)
        state.loss, state.weight, state.correct, state.count = 0.0, 0.0, 0, 0
        speed, left = self._speed()
        figures["tokens_per_second"] = speed
        total = self.settled.total_steps
        event = Metrics(state.step, total, figures, self.progress, left, state.trained_tokens)
        self.hooks.events.emit(event)

    def _speed(self) -> tuple[float, float | None]:
        """(tokens a second, seconds left) by this attempt's own pace."""
        began, step, tokens = self._started
        spent = max(self.hooks.clock() - began, 1e-6)
        speed = (self.state.trained_tokens - tokens) / spent
        lefts = []
        if self.settled.total_steps and self.state.step > step:
            lefts.append((self.settled.total_steps - self.state.step) * spent / (self.state.step - step))
        if self.settled.max_seconds:
            lefts.append(max(0.0, self.settled.max_seconds - self.state.elapsed))
        return speed, min(lefts) if lefts else None


def batches(settled: Settled, prepared: Dataset) -> RowBatches | StreamBatches:
    size, seed, micro = settled.batch_size, settled.seed, settled.micro_tokens
    if isinstance(prepared.train, Rows):
        causal = prepared.facts.task == "generation"
        limit = settled.config.context_length
        return RowBatches(prepared.train, size, seed, limit=limit, micro_tokens=micro, causal=causal)
    return StreamBatches(prepared.train, size, seed, window=settled.window, micro_tokens=micro)


def ceiling(settled: Settled, prepared: Dataset) -> float:
    """A loss that no working training stays above: far over that of guessing."""
    config = settled.config
    if config.task == "regression":
        return 100.0 * _power(prepared.train) if prepared.facts.target else math.inf  # raw values have any size
    guessing = math.log(2 if config.task == "multilabel" else max(2, config.classes or config.vocab_size))
    return (2.0 * guessing + 2.0) * max(settled.class_weights or [1.0])


def _power(train: Rows | Stream) -> float:
    """The mean square of the values to learn: 1, unless another version's scale was taken."""
    assert isinstance(train, Rows)
    return max(1.0, float(np.square(train.targets_N, dtype=np.float64).mean()))


def validation(found: dict[str, Any], *, full: bool) -> dict[str, float]:
    data = {"valid_loss": found["loss"]}
    if "accuracy" in found:
        data["valid_mean_token_accuracy"] = found["accuracy"]
    for name in ("macro_f1", "mse", "mae", "r2", "bits_per_character"):
        if name in found:
            data[name] = found[name]
    if full:
        data["full_valid_loss"] = found["loss"]
        if "accuracy" in found:
            data["full_valid_mean_token_accuracy"] = found["accuracy"]
    return data


def check_figures(part: str, found: dict[str, Any], step: int, settled: Settled) -> None:
    """Raise `diverged` where a figure of an evaluation is no number: nothing can be chosen by it, nor written of it."""
    for name, value in found.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise diverged(f"the {part} {name} at step {step} is {value}", settled.learning_rate)


def _report_step(step: int, total: int | None) -> bool:
    """About a hundred reports a run; where its length is unknown, ever rarer ones."""
    if total is not None:
        return step % max(1, -(-total // REPORTS)) == 0
    return step % (5 << max(0, (step // 100).bit_length() - 1)) == 0


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


class _Swapped(AbstractContextManager[None]):
    """Another set of weights in the network, for a while."""

    def __init__(self, network: Network, other: dict[str, Tensor]) -> None:
        self._network, self._other = network, other
        self._own: dict[str, Tensor] = {}

    def __enter__(self) -> None:
        self._own = {name: p.data for name, p in self._network.named_parameters()}
        for name, parameter in self._network.named_parameters():
            parameter.data = self._other[name]

    def __exit__(self, *_: object) -> None:
        for name, parameter in self._network.named_parameters():
            parameter.data = self._own[name]
