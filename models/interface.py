"""What every body of a network promises. Knows torch alone; knows no task, no text and no request.

Shape letters, in every tensor name of this project:
B batch · T time · D width · F features of a numeric step · V vocabulary · C classes · L layers · S slots · H heads
· G groups of heads that share keys (key-value heads) · K width of a head
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from models.state import State


@dataclass(slots=True)
class Context:
    """What a call of a body knows besides its input.

    `lengths_B`: how many of each row's T steps are real (int64; None: all); padding is on the right. With a state keep
    it on the CPU: its numbers then steer the call without waiting for an accelerator.
    `state`: where each row goes on from, changed in place; row b of the input belongs to slot b of the state
    (take a `state.narrow(start, rows)` for a range of slots). None: a parallel pass from the beginning.
    """

    lengths_B: Tensor | None = None
    state: State | None = None

    def steps(self, x_BTD: Tensor) -> list[int]:
        """How many steps of each row are real, as plain numbers."""
        if self.lengths_B is None:
            return [x_BTD.shape[1]] * x_BTD.shape[0]
        steps: list[int] = self.lengths_B.tolist()
        return steps


class Body(Protocol):
    """Input vectors to hidden vectors. `causal` False: reads both ways, has no state, is for classification only."""

    width: int  # of the hidden vectors (twice `config.width` for a bidirectional recurrent body)
    causal: bool

    def new_state(self, slots: int) -> State: ...

    def forward(self, x_BTD: Tensor, context: Context) -> Tensor:
        """hidden_BTD. What stands at padded positions is unspecified, but finite."""
        ...
