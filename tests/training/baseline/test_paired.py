import numpy as np
import pytest
from scipy import stats

from app.training.baseline.paired import correct_rows, mcnemar, t_test


@pytest.mark.parametrize(
    ("only_first", "only_second", "both"), [(9, 2, 80), (0, 0, 50), (3, 3, 4), (40, 70, 0), (0, 1, 9)]
)
def test_mcnemar_is_the_binomial_test_of_the_rows_that_differ(only_first: int, only_second: int, both: int) -> None:
    first = np.asarray([True] * only_first + [False] * only_second + [True] * both)
    second = np.asarray([False] * only_first + [True] * only_second + [True] * both)
    test = mcnemar(first, second)
    differing = only_first + only_second
    expected = stats.binomtest(only_first, differing).pvalue if differing else 1.0
    assert test.p == pytest.approx(expected)
    assert test.difference == pytest.approx((only_first - only_second) / len(first))


def test_the_t_test_is_that_of_scipy() -> None:
    random = np.random.default_rng(0)
    first, second = random.normal(size=40) ** 2, random.normal(size=40) ** 2 + 0.3
    test = t_test(first, second)
    assert test.p == pytest.approx(stats.ttest_rel(first, second).pvalue)
    assert test.difference > 0  # the errors of the first are smaller


@pytest.mark.parametrize(("shift", "p"), [(0.0, 1.0), (0.5, 0.0)])
def test_errors_that_differ_everywhere_alike(shift: float, p: float) -> None:
    errors = np.ones(5)
    assert t_test(errors, errors + shift).p == p


def test_a_multilabel_row_is_right_if_every_label_is() -> None:
    logits = np.asarray([[1.0, -1.0], [1.0, 1.0], [-1.0, -1.0]])
    targets = np.asarray([[1, 0], [1, 0], [0, 0]])
    assert correct_rows("multilabel", logits, targets).tolist() == [True, False, True]
    assert correct_rows("classification", logits, np.asarray([0, 0, 1])).tolist() == [True, True, False]
