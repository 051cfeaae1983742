"""Low-rank adapters (LoRA; Hu et al., 2021), which are trained in place of the matrices of a Transformer."""

from __future__ import annotations

from collections.abc import Collection

from torch import Tensor, nn
from torch.nn import functional


class LowRankLinear(nn.Module):
    """A linear map whose matrix W has a low-rank update: x -> x W' + b + alpha / r * drop(x) A' B'.

    See Hu et al., 2021, section 4.1. As in PEFT, A (r, in) has the initial values of a linear layer, B (out, r) is zero
    at first, and dropout applies to the input of A.
    """

    def __init__(self, linear: nn.Linear, r: int, alpha: float, dropout: float) -> None:
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias
        self.scale = alpha / r
        self.dropout = nn.Dropout(dropout)
        self.lora_A = nn.Linear(linear.in_features, r, bias=False)
        self.lora_B = nn.Linear(r, linear.out_features, bias=False)
        nn.init.zeros_(self.lora_B.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Return (…, out) from x (…, in)."""
        update: Tensor = self.lora_B(self.lora_A(self.dropout(x)))
        return functional.linear(x, self.weight, self.bias) + self.scale * update


def add_adapters(network: nn.Module, targets: Collection[str], r: int, alpha: float, dropout: float) -> None:
    """Give the matrices `targets` of each Transformer block a low-rank update, which does not change any output yet.

    The new parameters have the names of the matrices, with `lora_A.weight` and `lora_B.weight` in place of `weight`.
    """
    for name, module in list(network.named_modules()):
        parent, _, leaf = name.rpartition(".")
        if isinstance(module, nn.Linear) and name.startswith("body.blocks.") and leaf in targets:
            setattr(network.get_submodule(parent), leaf, LowRankLinear(module, r, alpha, dropout))
