"""Explains why an engine computes a version with a particular data type and kernel.

The explanation is part of heartbeats and is stored on disk. Imports no torch.
"""

from __future__ import annotations

import msgspec


class PrecisionCheck(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The differences between the outputs of one mode and those of float32, on `rows` probes.

    `probes` is the source of the probes (`app.wire.probes`). `agreement` is the share of probes with the same labels in
    both modes, and `change` is the largest change in any probability. For language models, `divergence` is the mean KL
    divergence in nats, and `perplexity` is the relative change in perplexity. `cosine` is the lowest cosine similarity
    between the embeddings of a probe in both modes. `accepted` is true if all differences are within their bounds.
    """

    accepted: bool
    probes: str
    rows: int
    agreement: float | None = None
    change: float | None = None
    divergence: float | None = None
    perplexity: float | None = None
    cosine: float | None = None


class ModeChoice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The mode chosen for a version, and the reason. A mode is a data type and a kernel, such as `bfloat16/onednn`.

    `speeds` maps each measured mode to its speed, relative to the default mode. `checks` are the comparisons with
    float32, by mode. `speeds` and `checks` are empty if the mode was chosen without measurements.
    """

    mode: str
    reason: str
    speeds: dict[str, float] = {}
    checks: dict[str, PrecisionCheck] = {}
