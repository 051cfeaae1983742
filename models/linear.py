"""The architecture `linear`, which classifies texts by their n-grams, without a neural network."""

from __future__ import annotations

from torch import Tensor, nn

from models.config import ModelConfig
from models.ngrams import Ngrams


class LinearClassifier(nn.Module):
    """Scores classes or labels, or predicts a value, from the n-grams of a text. See `models/ngrams.py`."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.ngrams = Ngrams(config)

    def forward(self, inputs: Tensor, lengths_B: Tensor) -> Tensor:
        """Return logits_BC from ids_BT; for regression, value_B1."""
        scores_BC: Tensor = self.ngrams(inputs, lengths_B)
        return scores_BC

    def outputs(
        self, inputs: Tensor, lengths_B: Tensor, *, branch: bool = True, host: tuple[Tensor, Tensor] | None = None
    ) -> list[Tensor]:
        """Return a list that contains only the output. Has the same interface as `Classifier.outputs`."""
        return [self(*(host or (inputs, lengths_B)))]

    def combine(self, outputs: list[Tensor]) -> Tensor:
        """Return the only output. Has the same interface as `Classifier.combine`."""
        return outputs[0]
