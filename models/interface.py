"""The interface of a body, which maps input vectors to hidden vectors and, if causal, can continue from a state.

Names of tensors end in their shape, with one letter for each dimension: B batch · T time · D width · F features of a
numeric step · V vocabulary · C classes · L layers · S slots · H heads · G groups of heads that share keys and values
(key-value heads) · K width of a head · P positions in a cache · N entries of a flat list · 1 a dimension of size 1 · 2,
3 or 4 before a letter: this multiple of the dimension
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from models.state import State


@dataclass(slots=True)
class Context:
    """The arguments of a call to a body, apart from its input.

    - `lengths_B`: the number of real steps in each row (int64; None: all T steps). The remaining steps, on the right,
      are padding. With a state, keep this tensor on the CPU, because its values control the computation, and reading
      them from an accelerator would mean waiting for it.
    - `state`: the state that each row continues from. The state is updated in place. Row b of the input belongs to slot
      b of the state (`state.narrow(start, rows)` is a range of slots). None: compute all rows in parallel, from the
      beginning.
    """

    lengths_B: Tensor | None = None
    state: State | None = None

    def steps(self, x_BTD: Tensor) -> list[int]:
        """Return the number of real steps in each row, as Python integers."""
        if self.lengths_B is None:
            return [x_BTD.shape[1]] * x_BTD.shape[0]
        steps: list[int] = self.lengths_B.tolist()
        return steps


class Body(Protocol):
    """Maps input vectors to hidden vectors.

    A causal body reads from left to right and can continue from a state. Any other body reads in both directions, has
    no state, and supports every task except generation.
    """

    width: int  # the width of the hidden vectors (twice `config.width` for a bidirectional recurrent body)
    causal: bool

    def new_state(self, slots: int) -> State:
        """Create an empty state for `slots` sequences. Raises TypeError if the body is not causal."""
        ...

    def forward(self, x_BTD: Tensor, context: Context) -> Tensor:
        """Return hidden_BTD. Vectors at padding are unspecified, but finite."""
        ...
