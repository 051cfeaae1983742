"""Computes the body of a network with OpenVINO, a compiler for networks, if the extra `openvino` is installed.

OpenVINO fuses the operations between the matrix products, and its products are faster than torch's on some processors
(see docs/log.md). The embedding, the n-gram branch, the pooling and the head are still computed by torch.
"""

from __future__ import annotations

import importlib.metadata
import queue
from typing import Any

import torch
from torch import Generator, Tensor, nn

from app.engine.headroom import free_memory
from app.exporting.onnx.body_model import HIDDEN, LENGTHS, VECTORS, body_model
from app.exporting.source_version import SourceVersion
from models import interruption
from models.choices import LOCAL_BLOCK
from models.config import ModelConfig
from models.interface import Body, Context
from models.state import State

KERNEL = "openvino"  # the name of the kernel in a mode
LARGEST = 2**30  # bytes; torch computes larger bodies, because an ONNX file has a maximum size of 2 GiB
LONGEST = 1024  # steps; torch computes longer batches, because it needs less memory for them and can stop sooner
WAIT_MS = 20  # time between two checks of whether the result is still needed
COPIES = 2  # number of layouts in which OpenVINO stores the weights
COMPILING = 4  # number of copies of the weights in memory while OpenVINO compiles a body
MARGIN = 256 * 2**20  # bytes that must stay free
TOLERANCE = 1e-3  # relative to the largest hidden value; a different order of additions causes an error of about 1e-5
FULL = 128  # a group with fewer steps is extended despite the padding, because a separate call costs more
SIMILAR = 0.75  # minimum length of the shortest row of a full group, relative to the longest row
SHAPES = 32  # maximum number of batch shapes for which OpenVINO keeps prepared operations; each takes about 0.5 MB
PROOF_LENGTHS = (32, 1, 9)  # lengths of the rows on which a compiled body is compared with the original


def version() -> str | None:
    """The version of OpenVINO, or None if it is not installed."""
    try:
        return importlib.metadata.version(KERNEL)
    except importlib.metadata.PackageNotFoundError:
        return None


def supports(device: torch.device, config: ModelConfig, body: nn.Module | None) -> bool:
    """Whether OpenVINO is installed and can compute this body, which must not generate text.

    In the reverse direction of a recurrent network, OpenVINO 2026.4 ignores the lengths of rows and reads padding.
    """
    if config.recurrent and config.bidirectional:
        return False
    if device.type != "cpu" or body is None or config.task == "generation" or version() is None:
        return False
    return sum(parameter.numel() * 4 for parameter in body.parameters()) <= LARGEST


class OpenVinoBody(nn.Module):
    """A body for inference that computes the same as `network.body`, in float32 or bfloat16.

    At most `threads` calls run in parallel, each on one core. `nbytes` is the size of the weights that OpenVINO keeps.
    Raises RuntimeError if OpenVINO cannot compile the body, or if its float32 results are wrong.
    """

    def __init__(self, network: Any, dtype: torch.dtype, threads: int) -> None:
        super().__init__()
        plain, config = network.body, network.config
        self.width, self.causal = plain.width, plain.causal
        self.nbytes: int = COPIES * sum(parameter.numel() for parameter in plain.parameters()) * dtype.itemsize
        width = config.vector_width if config.input == "tokens" or config.projected else config.features
        tensors = {name: tensor.numpy() for name, tensor in network.state_dict().items() if name.startswith("body.")}
        source = SourceVersion(config, {}, [], tensors, None, "", None)
        self._compiled = _compile(body_model(source, width), dtype, threads)
        self._idle: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.longest = _longest(config)
        self.plain: Body | None = plain if config.context_length > self.longest else None
        if dtype == torch.float32:
            far = [2 * config.attention_window + 2] if config.attention_window else []  # more steps than a window has
            self._prove(plain, width, [min(n, config.context_length, self.longest) for n in (*PROOF_LENGTHS, *far)])

    def new_state(self, slots: int) -> State:
        raise TypeError("a body that OpenVINO computes has no state, because it reads only whole sequences")

    def forward(self, x_BTD: Tensor, context: Context) -> Tensor:
        """Return hidden_BTD. Raises ComputationStopped as soon as the result is no longer needed."""
        if self.plain is not None and x_BTD.shape[1] > self.longest:
            return self.plain.forward(x_BTD, context)
        hidden_BTD = x_BTD.new_zeros(*x_BTD.shape[:2], self.width)
        for rows, lengths in _groups(context.steps(x_BTD)):
            longest = max(lengths)
            inputs = x_BTD[rows, :longest].float().contiguous(), torch.tensor(lengths)
            hidden_BTD[rows, :longest] = self._run(*inputs).to(x_BTD.dtype)
        return hidden_BTD

    def _run(self, x_BTD: Tensor, lengths_B: Tensor) -> Tensor:
        request = self._request()
        request.start_async({VECTORS: x_BTD.numpy(), LENGTHS: lengths_B.numpy()}, share_inputs=True)
        try:
            while not request.wait_for(WAIT_MS):
                interruption.check()
        except interruption.ComputationStopped:
            request.cancel()
            raise
        hidden_BTD = torch.from_numpy(request.get_tensor(HIDDEN).data.copy())
        self._idle.put(request)
        return hidden_BTD

    def _request(self) -> Any:
        """Return an idle request, so that its buffers are reused, or a new one. A request serves one call at a time."""
        try:
            return self._idle.get_nowait()
        except queue.Empty:
            return self._compiled.create_infer_request()

    def _prove(self, plain: Body, width: int, lengths: list[int]) -> None:
        """Compare the results with those of the plain body, so that a compiler bug cannot cause wrong answers."""
        x_BTD = torch.randn(len(lengths), max(lengths), width, generator=Generator().manual_seed(0))
        context = Context(torch.tensor(lengths))
        with torch.inference_mode():
            expected_BTD, computed_BTD = plain.forward(x_BTD, context), self.forward(x_BTD, context)
        real_BT = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
        difference = float((expected_BTD - computed_BTD)[real_BT].abs().max())
        if not difference <= TOLERANCE * float(expected_BTD[real_BT].abs().max()):
            raise RuntimeError(f"OpenVINO's results differ from torch's by {difference:.2g}")


def _longest(config: ModelConfig) -> int:
    """Return the length of the longest batch that OpenVINO computes.

    In local layers, OpenVINO computes the scores of all pairs of steps, but torch only those of the steps in each block
    (`models/windows.py`).
    """
    return min(LONGEST, LOCAL_BLOCK + 2 * config.attention_window) if config.attention_window else LONGEST


def _groups(lengths: list[int]) -> list[tuple[list[int], list[int]]]:
    """Divide the rows of a batch into groups of similar lengths, because OpenVINO also computes padding.

    Returns the rows of each group and their lengths.
    """
    groups: list[tuple[list[int], list[int]]] = []
    for row in sorted(range(len(lengths)), key=lengths.__getitem__):
        if not groups or (sum(groups[-1][1]) >= FULL and groups[-1][1][0] < SIMILAR * lengths[row]):
            groups.append(([], []))
        groups[-1][0].append(row)
        groups[-1][1].append(max(1, lengths[row]))
    return groups


def _compile(model: bytes, dtype: torch.dtype, threads: int) -> Any:
    if free_memory() < COMPILING * len(model) + MARGIN:
        raise RuntimeError("there is not enough free memory for OpenVINO")
    try:
        import openvino
    except ImportError as error:
        raise RuntimeError(f"OpenVINO cannot be imported: {error}") from error
    exact = dtype == torch.float32
    settings = {
        "INFERENCE_PRECISION_HINT": "f32" if exact else "bf16",
        "EXECUTION_MODE_HINT": "ACCURACY" if exact else "PERFORMANCE",
        "NUM_STREAMS": str(threads),
        "INFERENCE_NUM_THREADS": str(threads),
        "CPU_RUNTIME_CACHE_CAPACITY": str(SHAPES),
        "ENABLE_CPU_PINNING": "NO",  # the service's other programs also need the cores
    }
    core = openvino.Core()
    return core.compile_model(core.read_model(model), "CPU", settings)
