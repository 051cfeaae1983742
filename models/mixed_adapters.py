"""Computes rows with different low-rank adapters of one base in a single call, without merging any adapter.

The product with the matrix of the base is computed for all rows together. Each row then gets the update of its own
adapter, x -> alpha / r * x A' B'. This is the method of Punica (Chen et al., 2023, section 4) and S-LoRA (Sheng et al.,
2023, section 5), with ordinary matrix products instead of special GPU kernels.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from itertools import groupby
from threading import Lock

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.adapters import DOWN, UP
from models.choices import ADAPTABLE
from models.kernels import reference
from models.kernels.port import AddedProduct, KernelLayer, Kernels, Product

# A separate product for the rows of one adapter takes about as long as this many multiplications in a larger product.
CALL_COST = {("cpu", torch.float32): 2**18, ("cpu", torch.bfloat16): 2**21}
GPU_CALL_COST = 2**26
RECENT = 8  # the maximum number of stacks that are kept
COPIES = 2  # the maximum size of these stacks, relative to the size of the adapters in them


@dataclass(frozen=True, slots=True, eq=False)
class AdapterMatrices:
    """The matrices of one adapter: for the name of a linear map, A (r, in) and alpha / r * B (out, r)."""

    pairs: Mapping[str, tuple[Tensor, Tensor]]

    @classmethod
    def new(
        cls, tensors: Mapping[str, Tensor], scale: float, device: torch.device, dtype: torch.dtype
    ) -> AdapterMatrices:
        """Take the matrices from the tensors of an adapter, by parameter name. `scale` is alpha / r."""
        pairs = {}
        for name in (name.removesuffix(f".{DOWN}") for name in tensors if name.endswith(DOWN)):
            down, up = tensors[f"{name}.{DOWN}"].float(), scale * tensors[f"{name}.{UP}"].float()
            pairs[name] = down.to(device, dtype), up.to(device, dtype)
        return cls(pairs)

    @property
    def largest(self) -> float:
        """The largest absolute value: infinity or NaN if a value is not finite in this data type."""
        largest = [matrix.abs().max() for pair in self.pairs.values() for matrix in pair]
        return float(torch.stack(largest).max()) if largest else 0.0  # unlike `max`, this returns NaN if one is NaN

    @property
    def nbytes(self) -> int:
        """The size of the matrices in bytes."""
        return sum(down.nbytes + up.nbytes for down, up in self.pairs.values())


class AdapterStack:
    """Several adapters whose matrices are concatenated, so that a few rows of all of them take only two products."""

    def __init__(self, adapters: tuple[AdapterMatrices, ...]) -> None:
        self.adapters = adapters
        self._products: dict[str, tuple[Product, AddedProduct]] = {}
        self._prepared: dict[str, tuple[Product, AddedProduct]] = {}
        self._ranks: dict[str, tuple[int, ...]] = {}

    def ranks(self, name: str) -> tuple[int, ...]:
        """Return the rank of each adapter in a linear map, which is 0 if the adapter does not change the map."""
        if name not in self._ranks:
            self._ranks[name] = tuple(len(a.pairs[name][0]) if name in a.pairs else 0 for a in self.adapters)
        return self._ranks[name]

    def products(self, name: str, kernels: Kernels) -> tuple[Product, AddedProduct]:
        """Return the products of a linear map with the matrices A, and with the matrices B, of all adapters.

        `kernels` prepare the matrices only if they are used again, as in decode steps, because this takes time.
        """
        if name in self._products and name not in self._prepared:
            self._prepared[name] = self._products[name] = self._new_products(name, kernels)
        elif name not in self._products:
            self._products[name] = self._new_products(name, reference)
        return self._products[name]

    def _new_products(self, name: str, kernels: Kernels) -> tuple[Product, AddedProduct]:
        pairs = zip(*(a.pairs[name] for a in self.adapters if name in a.pairs), strict=True)
        down_RI, up_OR = (torch.cat(matrices, dimension) for dimension, matrices in enumerate(pairs))
        if kernels is reference:
            return kernels.linear(down_RI, None), lambda h_NR, y_NO: y_NO.addmm_(h_NR, up_OR.T)
        return kernels.linear(down_RI, None), kernels.linear_add(up_OR, None)


@dataclass(slots=True)
class RowAdapters:
    """The adapter of each row of a call: an index into `stack.adapters`, or -1 for the base alone.

    `steps` contains the number of real steps in each row. It is needed for networks that omit the padding of a batch.
    """

    stack: AdapterStack
    rows: Sequence[int]
    steps: Sequence[int]
    _runs: dict[int, list[tuple[int, int, int]]] = field(default_factory=dict)
    _masks: dict[tuple[int, tuple[int, ...]], Tensor] = field(default_factory=dict)

    def updated(self, name: str, x: Tensor, y: Tensor, kernels: Kernels) -> Tensor:
        """Return the output y (rows, steps, out) of a linear map with the update of each row. May overwrite y.

        x is (rows, steps, in). If x has only one row but the call has several, x contains the real steps of all rows,
        one after another.
        """
        padded = x.shape[1] if x.shape[0] == len(self.rows) else 0
        adapters, ranks = self.stack.adapters, self.stack.ranks(name)
        runs = [run for run in self._runs_of(padded) if ranks[run[0]]]
        x_NI, y_NO = x.reshape(-1, x.shape[-1]), y.view(-1, y.shape[-1])
        # For few rows, it is faster to multiply all of them with the matrices of all adapters, and to set the products
        # with other adapters to zero.
        work = len(x_NI) * sum(ranks) * (x_NI.shape[1] + y_NO.shape[1])
        if len(runs) > 1 and work < 2 * len(runs) * _call_cost(x):
            down, up = self.stack.products(name, kernels)
            # Do not multiply by 0 instead: if the product with another adapter is infinite, the result would be NaN.
            return up(down(x_NI).masked_fill_(self._others(padded, ranks, x), 0.0), y_NO).view(y.shape)
        for adapter, start, stop in runs:
            down_RI, up_OR = adapters[adapter].pairs[name]
            y_NO[start:stop].addmm_(functional.linear(x_NI[start:stop], down_RI), up_OR.T)
        return y

    def _runs_of(self, padded: int) -> list[tuple[int, int, int]]:
        """Return the runs of consecutive steps with the same adapter: (adapter, start, stop)."""
        if padded not in self._runs:
            runs, start = [], 0
            for adapter, same in groupby(zip(self.rows, self.steps, strict=True), key=lambda row: row[0]):
                stop = start + sum(padded or steps for _, steps in same)
                if adapter >= 0 and stop > start:
                    runs.append((adapter, start, stop))
                start = stop
            self._runs[padded] = runs
        return self._runs[padded]

    def _others(self, padded: int, ranks: tuple[int, ...], like: Tensor) -> Tensor:
        """Return mask_NR, which is true where a column of the stacked matrices belongs to another step's adapter."""
        if (padded, ranks) not in self._masks:
            owner_R = torch.arange(len(ranks)).repeat_interleave(torch.tensor(ranks))
            owner_N = torch.tensor(self.rows).repeat_interleave(torch.tensor([padded or n for n in self.steps]))
            self._masks[padded, ranks] = (owner_N[:, None] != owner_R).to(like.device)
        return self._masks[padded, ranks]


def _call_cost(x: Tensor) -> int:
    return CALL_COST.get((x.device.type, x.dtype), GPU_CALL_COST)


class AdapterStacks:
    """Assigns adapters to the rows of calls. Keeps the stacks of recent calls, because decode steps repeat them.

    The kept stacks need at most COPIES times the memory of the adapters. Safe to use in several threads.
    """

    def __init__(self) -> None:
        self._stacks: OrderedDict[tuple[AdapterMatrices, ...], AdapterStack] = OrderedDict()  # last used last
        self._lock = Lock()

    def rows(self, adapters: Sequence[AdapterMatrices | None], steps: Sequence[int]) -> RowAdapters | None:
        """Return the assignment for rows with these adapters (None: the base) and numbers of steps, for `using`."""
        distinct = tuple(sorted({adapter for adapter in adapters if adapter is not None}, key=id))
        if not distinct:
            return None
        places: dict[AdapterMatrices | None, int] = {adapter: i for i, adapter in enumerate(distinct)}
        return RowAdapters(self._stack_of(distinct), [places.get(adapter, -1) for adapter in adapters], steps)

    def clear(self) -> None:
        """Drop the stacks, which refer to adapters that may have been unloaded."""
        with self._lock:
            self._stacks.clear()

    def _stack_of(self, adapters: tuple[AdapterMatrices, ...]) -> AdapterStack:
        with self._lock:
            if adapters not in self._stacks:
                self._stacks[adapters] = AdapterStack(adapters)
                while len(self._stacks) > RECENT or self._excessive():
                    self._stacks.popitem(last=False)
            self._stacks.move_to_end(adapters)
            return self._stacks[adapters]

    def _excessive(self) -> bool:
        """Whether the kept stacks need too much memory. A stack is counted before its matrices are concatenated."""
        total = sum(adapter.nbytes for adapters in self._stacks for adapter in adapters)
        return total > COPIES * sum(adapter.nbytes for adapter in {a for adapters in self._stacks for a in adapters})


_rows: ContextVar[RowAdapters | None] = ContextVar("rows", default=None)  # each thread has its own value


@contextmanager
def using(rows: RowAdapters | None) -> Iterator[None]:
    """During the block, compute each row with its own adapter in this thread. None: compute the base alone."""
    token = _rows.set(rows)
    try:
        yield
    finally:
        _rows.reset(token)


class SharedLinear(KernelLayer):
    """A linear map of a base whose adapters are not merged. For inference only; see `using`."""

    def __init__(self, name: str, linear: nn.Linear) -> None:
        super().__init__()
        self.name = name
        self.weight, self.bias = linear.weight, linear.bias
        self._kernels: Kernels = reference
        self._bound: Product | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Return (…, out) from x (rows, steps, in)."""
        y = self._bound(x) if self._bound else functional.linear(x, self.weight, self.bias)
        rows = _rows.get()
        return y if rows is None else rows.updated(self.name, x, y, self._kernels)

    def bind(self, kernels: Kernels) -> int:
        self._kernels, self._bound = kernels, kernels.linear(self.weight, self.bias)
        self.weight = self.bias = None  # type: ignore[assignment]
        return 0


def share_linears(network: nn.Module) -> None:
    """Replace the matrices of all Transformer blocks that adapters can change by `SharedLinear`."""
    for name, module in list(network.named_modules()):
        parent, _, leaf = name.rpartition(".")
        if isinstance(module, nn.Linear) and name.startswith("body.blocks.") and leaf in ADAPTABLE:
            setattr(network.get_submodule(parent), leaf, SharedLinear(name, module))
