"""Fits linear models: ridge regression for regression tasks; otherwise, linear SVMs for texts, and logistic regression
for numeric sequences.

scikit-learn's solvers run on one thread with a fixed seed, so equal features give equal predictions.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import accuracy_score, f1_score, mean_absolute_error, mean_squared_error, r2_score
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

_TOLERANCE = 0.1  # a smaller tolerance takes three times as long and gives the same accuracy
_ITERATIONS = 100


class Linear:
    """A linear model for one task, fitted to features of texts (`is_text`) or to pooled statistics."""

    def __init__(self, task: str, *, is_text: bool) -> None:
        self.task, self._is_text = task, is_text
        self._model: Any = None
        self._constant: Any = None

    @property
    def description(self) -> str:
        """A phrase for the model card that names the features and the method."""
        features = "TF-IDF of words 1–2 and characters 2–5" if self._is_text else "statistics of the steps"
        method = "ridge regression" if self.task == "regression" else "logistic regression"
        return f"{features}, {'linear SVM' if self._is_text and self.task != 'regression' else method}"

    def fit(self, features: Any, targets_N: NDArray[Any]) -> None:
        """Fit the model to training rows.

        Targets are as in `Rows.targets_N`. If all rows have the same class, the model always predicts it.
        """
        if self.task == "classification" and len(np.unique(targets_N)) == 1:
            self._constant = targets_N[0]
            return
        model: Any = Ridge(solver="lsqr" if self._is_text else "auto")
        if self.task != "regression":
            model = LinearSVC(tol=_TOLERANCE, random_state=0) if self._is_text else LogisticRegression()
            model.set_params(max_iter=_ITERATIONS)
        if self.task == "multilabel":
            model = OneVsRestClassifier(model)
        self._model = model if self._is_text else make_pipeline(StandardScaler(), model)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the number of iterations is limited on purpose
            warnings.filterwarnings("ignore", "Label .* is present in all training examples")
            self._model.fit(features, targets_N)

    def predict(self, features: Any) -> NDArray[Any]:
        """Return predictions: classes (int64), rows of zeros and ones (uint8) or standardised values (float64)."""
        if self._model is None:
            return np.full(features.shape[0], self._constant, dtype=np.int64)
        dtype = {"classification": np.int64, "multilabel": np.uint8}.get(self.task, np.float64)
        predicted: NDArray[Any] = np.asarray(self._model.predict(features), dtype=dtype)
        return predicted


def figures(task: str, targets_N: NDArray[Any], predicted_N: NDArray[Any], scale: dict[str, float]) -> dict[str, Any]:
    """Return the metrics of predictions, under the same names as the metrics of a version.

    `scale["std"]` is the standard deviation by which regression values were divided.
    """
    metrics: dict[str, Any] = {"rows": len(targets_N)}
    if task == "regression":
        return metrics | {
            "mse": float(mean_squared_error(targets_N, predicted_N)) * scale["std"] ** 2,
            "mae": float(mean_absolute_error(targets_N, predicted_N)) * scale["std"],
            "r2": float(r2_score(targets_N, predicted_N)) if np.ptp(targets_N) > 0 else 0.0,
        }
    present = np.unique(targets_N) if task == "classification" else np.flatnonzero(targets_N.any(0))
    metrics["accuracy"] = float(accuracy_score(targets_N, predicted_N))
    metrics["macro_f1"] = _f1(targets_N, predicted_N, "macro", list(present))
    if task == "multilabel":
        metrics["micro_f1"] = _f1(targets_N, predicted_N, "micro", None)
    return metrics


def _f1(targets_N: NDArray[Any], predicted_N: NDArray[Any], average: str, labels: list[int] | None) -> float:
    if labels == []:
        return 0.0
    return float(f1_score(targets_N, predicted_N, average=average, labels=labels, zero_division=0.0))
