"""Probes: inputs of a version that are used to compare the outputs in other data types with those in float32.

Imports no torch. The probes of a version are stored as one blob, which only engines read. Probes are token ids or
numbers, never text.
"""

from __future__ import annotations

import msgspec

from app.wire.engine import FeatureSequence

MOST = 500  # probes of one version; a type other than float32 is chosen only if it was compared on this many probes
STEPS = 256  # maximum number of tokens or numeric steps of a probe; longer inputs are cut
LIMIT = 8 * 2**20  # maximum size of the encoded probes of one version, in bytes
VALIDATION, IMPORT, VOCABULARY = "validation", "import", "vocabulary"


class ProbeSet(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The probes of one version.

    `source` is "validation" (validation data of its training run), "import" (given by the user with an import) or
    "vocabulary" (random tokens), or two of these words joined by "and". Either `sequences` or `features` is empty. If
    `standardised` is true, `features` contains values as the network reads them; otherwise, it contains values in the
    units of the data.
    """

    source: str
    sequences: list[list[int]] = []
    features: list[FeatureSequence] = []
    standardised: bool = True

    def __len__(self) -> int:
        return len(self.sequences) or len(self.features)


def encode(probes: ProbeSet) -> bytes:
    """Encode probes as msgpack."""
    return msgspec.msgpack.encode(probes)


def decode(data: bytes) -> ProbeSet | None:
    """Decode the result of `encode`. Returns None if the data is not valid or exceeds `LIMIT`."""
    try:
        return msgspec.msgpack.decode(data, type=ProbeSet) if len(data) <= LIMIT else None
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


def steps_allowed(features: int) -> int:
    """Return how many numeric steps a probe may have, so that `MOST` probes with this many features fit in `LIMIT`."""
    return max(1, min(STEPS, LIMIT // (8 * (MOST + 1) * max(1, features)) - 8))
