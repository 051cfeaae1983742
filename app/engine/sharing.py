"""Loads several versions with one base so that its weights are in memory once.

A version is merged with its adapter while no other loaded version has the same weights file, because a merged network
is the fastest. When a second one is loaded and at least one of the two has an adapter, both use one network of the base
from then on (docs/decisions/0023-adapters-in-use-together-share-their-base.md).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from weakref import WeakSet

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

from app.checkpoint.adapter import ADAPTER, PREFIX, read_adapter
from app.checkpoint.directory import WEIGHTS
from app.checkpoint.weights import read_header
from app.engine.loader import LoadedNetwork, LoadSource, choose_mode, load_source, read_source, ready
from app.engine.reply import is_out_of_memory
from app.engine.shared_base import BaseKey, SharedBase
from app.engine.tuning import Tuner
from app.wire.engine import Load
from app.wire.modes import ModeChoice
from models import tasks
from models.adapters import is_adapter
from models.kernels.modes import TYPES, ComputeMode, set_mode
from models.mixed_adapters import AdapterMatrices, share_linears

logger = logging.getLogger(__name__)


class Sharing:
    """Loads versions, and notices which of them can share a base. Used by one thread only."""

    def __init__(
        self, device: torch.device, dtype: torch.dtype, tuner: Tuner | None = None, *, enabled: bool = True
    ) -> None:
        """If `enabled` is false, every adapter is merged: unmerged, the last bits of the results are different."""
        self.device, self.dtype, self.tuner, self.enabled = device, dtype, tuner, enabled
        # Weak references, so that unloaded versions are forgotten.
        self._separate: WeakSet[LoadedNetwork] = WeakSet()
        self._bases: WeakSet[SharedBase] = WeakSet()
        self._sharing: WeakSet[LoadedNetwork] = WeakSet()

    def load(self, message: Load) -> list[LoadedNetwork]:
        """Load a version. Returns its network, and new networks for versions that share a base with it from now on.

        Raises CheckpointInvalid if the files differ from those listed in `message`, or are not a valid checkpoint.
        """
        source = read_source(message)
        if not self.enabled or not can_share(source):
            return [load_source(source, self.device, self.dtype, self.tuner)]
        if networks := self._load_shared(source):
            return networks
        network = load_source(source, self.device, self.dtype, self.tuner)
        self._separate.add(network)
        return [network]

    def _load_shared(self, source: LoadSource) -> list[LoadedNetwork]:
        """Load a version that shares its base with others. Returns nothing if there are no such versions."""
        weights = source.message.files[WEIGHTS]
        bases = [base for base in self._bases if base.key.weights == weights]
        sharing = {network.digest for network in self._sharing}  # their merged networks may still finish requests
        others = [n for n in self._separate if _related(n, source.message) and n.digest not in sharing]
        if not bases and not others:
            return []
        choice, key = self._choose(source)
        base = next((base for base in bases if base.key == key), None)
        joining = list(self._joining(others, key))
        if base is None and not joining:
            return []
        try:
            shared = base or build_base(source, key, self.device)
            networks = [join(shared, source, choice, self.device)]
        except Exception as error:  # if its files are invalid, loading it separately raises the same error
            logger.warning("%s cannot share its base: %s", source.message.name, error)
            return []
        networks += self._join_others(shared, joining)
        if base is None and len(networks) == 1:
            return []
        self._bases.add(shared)
        self._sharing.update(networks)
        logger.info("%d versions now share the base of %s", len(networks), source.message.name)
        return networks

    def _join_others(
        self, base: SharedBase, joining: Iterable[tuple[LoadedNetwork, LoadSource, ModeChoice]]
    ) -> list[LoadedNetwork]:
        """Return the new networks of versions that have been loaded separately. Those that cannot join stay merged."""
        networks = []
        for merged, source, choice in joining:
            try:
                networks.append(join(base, source, choice, self.device))
            except Exception as error:
                logger.warning("%s cannot share its base: %s", source.message.name, error)
                if not is_out_of_memory(error):
                    self._separate.discard(merged)  # it would fail again
        return networks

    def _joining(
        self, others: Iterable[LoadedNetwork], key: BaseKey
    ) -> Iterable[tuple[LoadedNetwork, LoadSource, ModeChoice]]:
        """Yield the versions with this key, which have been loaded separately."""
        for network in others:
            assert network.message is not None
            try:
                source = read_source(network.message)
                choice, other_key = self._choose(source)
            except Exception as error:  # its files have been changed or removed: it stays as it is
                logger.warning("%s cannot share its base: %s", network.name, error)
                continue
            if other_key == key:
                yield network, source, choice

    def _choose(self, source: LoadSource) -> tuple[ModeChoice, BaseKey]:
        choice = choose_mode(source, self.device, self.dtype, self.tuner, shared=True)
        contents = source.contents
        normalization, mode = contents.raw_config.get("normalization"), ComputeMode.parse(choice.mode)
        return choice, BaseKey.new(source.message.files[WEIGHTS], contents.config, normalization, mode)


def can_share(source: LoadSource) -> bool:
    """Whether a version uses its base's input and body unchanged, except for low-rank matrices.

    Versions that generate text must also use the head of the base.
    """
    if source.contents.config.architecture != "transformer":
        return False
    if source.contents.adapter is None:
        return True
    names = [name.removeprefix(PREFIX) for name in read_header(source.directory / ADAPTER)]
    replaced = [name for name in names if not is_adapter(name)]
    return not replaced if source.generates else not any(name.startswith(("input.", "body.")) for name in replaced)


def _related(network: LoadedNetwork, message: Load) -> bool:
    """Whether a loaded version has the same weights file as another version, and one of them has an adapter."""
    other = network.message
    if other is None or other.digest == message.digest or other.files[WEIGHTS] != message.files[WEIGHTS]:
        return False
    return ADAPTER in other.files or ADAPTER in message.files


def build_base(source: LoadSource, key: BaseKey, device: torch.device) -> SharedBase:
    """Build the network that all versions with this key share, without any adapter."""
    whole = tasks.build_for_inference(source.contents.config)
    network: nn.Module = whole
    if not isinstance(whole, tasks.LanguageModel):
        assert isinstance(whole, tasks.Network)
        network = nn.ModuleDict({"input": whole.input, "body": whole.body})  # type: ignore[dict-item]
    names = network.state_dict().keys()
    network.load_state_dict({n: v for n, v in load_file(source.directory / WEIGHTS).items() if n in names})
    network.requires_grad_(False).eval()
    share_linears(network)
    nbytes = set_mode(network, key.mode, device)
    return SharedBase(key, whole.input, whole.body, whole if network is whole else None, nbytes)


def join(base: SharedBase, source: LoadSource, choice: ModeChoice, device: torch.device) -> LoadedNetwork:
    """Load the adapter and the head of a version that shares a base.

    Raises RuntimeError for numbers that could affect the answers of the other versions.
    """
    contents, dtype, adapter, own = source.contents, base.key.mode.dtype, None, {}
    if contents.adapter is not None:
        own = read_adapter(source.directory, load_file)
        adapter = AdapterMatrices.new(own, contents.adapter.scale, device, dtype)
        # The rows of other versions are also multiplied with these matrices, even if the results are not used.
        if not adapter.largest <= torch.finfo(TYPES[base.key.mode.type]).max:
            raise RuntimeError(f"a value in the matrices of its adapter is too large for {base.key.mode.type}")
    network, nbytes = base.language_model, adapter.nbytes if adapter else 0
    if network is None:
        network = tasks.build_for_inference(contents.config)
        del network.input, network.body
        with safe_open(source.directory / WEIGHTS, "pt") as file:
            head = {name: own[name] if name in own else file.get_tensor(name) for name in network.state_dict()}
        network.load_state_dict(head)
        ready(network, contents.config, source.tokenizer).to(device=device, dtype=dtype)
        nbytes += sum(tensor.nbytes for tensor in network.state_dict().values())
        network.input, network.body = base.input, base.body
    return source.loaded(network, nbytes, choice, device, shared=base, adapter=adapter)
