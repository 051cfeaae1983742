"""A training run that diverges is stopped, but not one whose loss is high for a few steps."""

from __future__ import annotations

import math

import pytest

from app.training.failures import TrainingFailure
from app.training.loop.divergence import PATIENT_STEPS, check_metrics, check_step
from app.training.loop.progress import Progress
from tests.training.loops import settled


@pytest.mark.parametrize(("loss", "norm"), [(math.nan, 1.0), (math.inf, 1.0), (1.0, math.nan), (1.0, math.inf)])
def test_a_loss_or_gradient_that_is_not_finite_is_a_divergence(loss: float, norm: float) -> None:
    with pytest.raises(TrainingFailure, match="the loss at step 8 is") as failure:
        check_step(Progress(step=7), settled(), 5.0, loss, norm)
    assert (failure.value.code, failure.value.param) == ("diverged", "training.learning_rate")


def test_high_losses_are_a_divergence_only_many_steps_in_a_row() -> None:
    progress = Progress()
    for _ in range(PATIENT_STEPS - 1):
        check_step(progress, settled(), 5.0, 6.0, 1.0)
    check_step(progress, settled(), 5.0, 4.0, 1.0)
    assert progress.bad_steps == 0
    for _ in range(PATIENT_STEPS - 1):
        check_step(progress, settled(), 5.0, 6.0, 1.0)
    with pytest.raises(TrainingFailure, match=r"the training run has diverged; use a learning rate below 0\.1,"):
        check_step(progress, settled(), 5.0, 6.0, 1.0)


def test_metrics_must_be_finite() -> None:
    check_metrics("test", {"loss": 1.0, "per_class": {"a": {}}}, 3, settled())
    with pytest.raises(TrainingFailure, match="the test r2 at step 3 is inf"):
        check_metrics("test", {"loss": 1.0, "r2": math.inf}, 3, settled())
