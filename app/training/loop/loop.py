"""The training loop.

A step is a pure function of the previous state: dropout and the order of the data depend only on (seed, step).
Therefore, a run that is killed and continues from a resume point produces bit-identical weights. With `max_seconds`,
the weights may differ, because the elapsed time then determines the number of steps and the decay of the learning rate.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from app.training.events import Events
from app.training.failures import StopRequested
from app.training.loop import optim, selection
from app.training.loop.averaging import AveragedWeights
from app.training.loop.batches import Batch, build_batches, derive
from app.training.loop.crossfit import CrossFit
from app.training.loop.device import Sums, prefetch, replace_tokens
from app.training.loop.divergence import check_metrics, check_step, loss_ceiling
from app.training.loop.evaluate import EvaluationSplit, evaluate
from app.training.loop.figures import Pace, training_figures, validation_figures
from app.training.loop.objective import build_objective
from app.training.loop.progress import Progress
from app.training.loop.remaining import EvaluationWork
from app.training.loop.schedule import Schedule
from app.training.plan.config import Settled
from app.training.prepare.dataset import Dataset
from app.wire.trainer import Metrics
from models.parameters import in_branch
from models.tasks import TaskNetwork


@dataclass(slots=True)
class Hooks:
    """Callbacks of the training loop."""

    events: Events
    stopping: Callable[[], bool]  # whether to stop after the current step
    save: Callable[[], None]  # write a resume point now
    save_due: Callable[[], bool]
    keep: Callable[[dict[str, float]], None]  # export the current weights as the best so far, with these metrics
    clock: Callable[[], float] = time.monotonic


class Training:
    """A network and the state of its training run. `progress` is updated in place."""

    def __init__(
        self, settled: Settled, dataset: Dataset, network: TaskNetwork, progress: Progress, hooks: Hooks
    ) -> None:
        self.settled, self.dataset, self.network = settled, dataset, network
        self.progress, self.hooks = progress, hooks
        self.schedule = Schedule(settled, progress)
        self.averaged = AveragedWeights(network, settled.averaging)
        self.optimizer = optim.build(network, settled)
        self.branch_optimizer = optim.build_for_branch(network)
        self.batches = build_batches(settled, dataset)
        self.objective = build_objective(network, settled.class_weights, settled.label_smoothing)
        self.crossfit = CrossFit(
            settled, dataset.facts, dataset.validation, mixed=getattr(network, "mix", None) is not None
        )
        self._clipped = [p for name, p in network.named_parameters() if p.requires_grad and not in_branch(name)]
        self._specials = torch.tensor(dataset.facts.specials, dtype=torch.int64)
        self._loss_ceiling = loss_ceiling(settled, dataset)
        self._pace = self._new_pace()
        self._ticked = hooks.clock()

    def run(self) -> None:
        """Train until the run ends. Raises StopRequested if `hooks` ask to stop, and the TrainingFailure `diverged`."""
        self.network.train()
        self._ticked = self.hooks.clock()
        self._pace = self._new_pace()  # do not count the time for fitting the baseline
        while True:
            self._tick()
            if self.schedule.evaluation_due:
                self.evaluate()
                # Save now, so that a resumed attempt does not repeat this evaluation.
                self.hooks.save()
                self._tick()
            if self.schedule.finished:
                return
            self.step()
            if self.schedule.report_due:
                self._report({})
            self._check_stop()
            if self.hooks.save_due():
                self.hooks.save()

    # Steps.

    def step(self) -> None:
        """Perform one optimizer step with the gradient accumulated over `accumulation` batches."""
        settled, progress = self.settled, self.progress
        # Dropout depends only on (seed, step), so a resume point need not include the state of the random generator.
        torch.manual_seed(derive(settled.seed, "step", progress.step))
        self.objective.train_branch = progress.step < settled.branch_steps
        pieces = self._pieces()
        # The loss of every piece is divided by the weight of the whole step, so that the gradients of the pieces add up
        # to the gradient of the mean loss. The weight is computed on the host, before the pieces are copied to the
        # device.
        weight = sum(map(self.objective.weight, pieces))
        divisor = max(weight, 1e-9)
        sums = Sums(settled.device)
        for piece in prefetch(pieces, settled.device):
            with self._precision():
                measured = self.objective(self._with_dropped_tokens(piece))
            # Each piece frees its activations before those of the next piece are computed, to save memory.
            (measured.total / divisor).backward()  # type: ignore[no-untyped-call]
            sums.add(measured)
            progress.count += measured.count
        norm = torch.nn.utils.clip_grad_norm_(self._clipped, settled.max_grad_norm)
        # So far, the host has not waited for the device. The number of waits does not depend on the number of pieces:
        # the host waits here, and once for the rows of each sparse gradient.
        loss, correct, gradient_norm = sums.read(norm)
        check_step(progress, settled, self._loss_ceiling, loss / divisor, gradient_norm)
        self.optimizer.step(self.schedule.rate)
        self.branch_optimizer.step(self.schedule.branch_rate)
        self.averaged.update(progress.step)
        progress.loss += loss
        progress.weight += weight
        progress.correct += int(correct)
        progress.trained_tokens += sum(piece.tokens for piece in pieces)
        progress.step += 1
        self._pace.advance()

    def _pieces(self) -> list[Batch]:
        """Return the batches of the step, on the host, split into pieces of limited size."""
        first = self.progress.step * self.settled.accumulation
        return [piece for k in range(self.settled.accumulation) for piece in self.batches.pieces(first + k)]

    def _with_dropped_tokens(self, batch: Batch) -> Batch:
        """Return a batch in which the blank token replaces a random share of the tokens, so that the network does not
        rely on single words.

        Special tokens are not replaced, because they mark the structure of the input. The choice is made on the host,
        because the n-gram branch reads the tokens there.
        """
        facts, share = self.dataset.facts, self.settled.token_dropout
        if not share or facts.blank is None or facts.input != "tokens":
            return batch
        ids_BT = batch.on_host.inputs
        dropped_BT = (torch.rand(ids_BT.shape) < share) & ~torch.isin(ids_BT, self._specials)
        return replace_tokens(batch, dropped_BT, facts.blank)

    def _precision(self) -> AbstractContextManager[Any]:
        if self.settled.precision == "float32":
            return nullcontext()
        return torch.autocast(self.settled.device, dtype=torch.bfloat16)

    # Evaluations and reports.

    def evaluate(self) -> None:
        """Evaluate on the validation data.

        Keep the weights if `selection` prefers them to the previously kept weights.
        """
        settled, progress, began = self.settled, self.progress, self.hooks.clock()
        split = EvaluationSplit(
            self.dataset.validation, self.dataset.facts, settled.device, settled.eval_rows, fits_mix=True
        )
        observe = self.crossfit.observer(self.schedule.fraction)
        with self.averaged.applied():
            metrics = evaluate(self.network, split, self._check_stop, observe)
        check_metrics("validation", metrics, progress.step, settled)
        progress.evaluated = progress.step
        progress.evaluations += 1
        progress.evaluating += self.hooks.clock() - began
        figures = validation_figures(metrics, full=settled.eval_rows is None)
        fraction = self.schedule.fraction
        progress.without_gain = 0 if selection.gains(settled.metric, metrics, progress) else progress.without_gain + 1
        replaces = selection.improves(settled.metric, metrics, fraction, progress)
        progress.best_value = selection.best(settled.metric, metrics, fraction, progress)
        if replaces:
            progress.best_step = progress.step
            progress.best_metrics = figures | self._training_figures()
            with self.averaged.applied():
                self.hooks.keep(progress.best_metrics)
        if self.schedule.plateaued:
            progress.cooldown_start = progress.step
        self._report(figures)

    def _report(self, validation: dict[str, float]) -> None:
        """Emit the training metrics accumulated since the last report, and reset the sums."""
        self._tick()
        progress = self.progress
        figures = self._training_figures() if progress.count else {}
        figures |= {"lr": self.schedule.rate} | validation
        # The history is recorded before the speed is added, because results.csv must not depend on the machine.
        progress.history.append({"step": progress.step} | figures)
        progress.loss, progress.weight, progress.correct, progress.count = 0.0, 0.0, 0, 0
        figures["tokens_per_second"] = self._pace.tokens_per_second
        schedule, seconds_left, tokens = self.schedule, self._pace.seconds_left, progress.trained_tokens
        self.hooks.events.emit(
            Metrics(progress.step, schedule.total_steps, figures, schedule.fraction, seconds_left, tokens)
        )

    def _new_pace(self) -> Pace:
        return Pace(self.schedule, self.hooks.clock, EvaluationWork.of(self.settled, self.dataset))

    def _training_figures(self) -> dict[str, float]:
        return training_figures(self.progress, self.dataset.facts.task)

    def _tick(self) -> None:
        """Add the time since the last tick to `elapsed`, which covers steps, evaluations, saving and reports."""
        now = self.hooks.clock()
        self.progress.elapsed, self._ticked = self.progress.elapsed + now - self._ticked, now

    def _check_stop(self) -> None:
        if self.hooks.stopping():
            raise StopRequested

    # Resume points.

    def tensors(self) -> dict[str, Tensor]:
        """Return all tensors that a resume point must contain, keyed by name."""
        parts = {
            "network": self.network.state_dict(),
            "averaged": self.averaged.tensors,
            "moments": self.optimizer.moments(),
            "branch_moments": self.branch_optimizer.moments(),
            "crossfit": self.crossfit.tensors(),
        }
        return {f"{part}.{name}": tensor for part, tensors in parts.items() for name, tensor in tensors.items()}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Restore the tensors of a resume point."""
        self.network.load_state_dict(_part("network", tensors))
        self.averaged.tensors = _part("averaged", tensors)
        self.optimizer.restore(_part("moments", tensors))
        self.branch_optimizer.restore(_part("branch_moments", tensors))
        self.crossfit.restore(_part("crossfit", tensors))


def _part(part: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    prefix = f"{part}."
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
