"""The probes of a version: those that are stored, completed with random tokens. Damaged probes are ignored."""

from __future__ import annotations

from app.engine.probing import probes_of
from app.wire import probes as wire
from app.wire.engine import FeatureSequence
from app.wire.probes import IMPORT, MOST, VALIDATION, ProbeSet, encode
from tests.engine import builders as b

TOKENS, NUMBERS = b.config("lstm", "classification"), b.config("lstm", "classification", input="features")


def test_the_versions_own_probes_are_used_alone_if_there_are_enough() -> None:
    own = [[i % 40, 3] for i in range(MOST + 7)]
    assert probes_of(TOKENS, encode(ProbeSet(VALIDATION, own)), "d", list) == ProbeSet(VALIDATION, own[:MOST])


def test_random_tokens_complete_them() -> None:
    made = probes_of(TOKENS, encode(ProbeSet(IMPORT, [[1, 2]])), "d", lambda: [0, 39])
    assert made is not None and made.source == "import and vocabulary" and len(made) == MOST
    assert made.sequences[0] == [1, 2]
    assert {i for row in made.sequences[1:] for i in row} == set(range(1, 39))
    assert max(map(len, made.sequences)) <= b.CONTEXT
    assert probes_of(TOKENS, b"", "d", list) == probes_of(TOKENS, b"", "d", list) != probes_of(TOKENS, b"", "e", list)


def test_probes_that_the_network_cannot_read_are_dropped() -> None:
    wrong = [[], [40], [-1], [5] * 1000]
    made = probes_of(TOKENS, encode(ProbeSet(IMPORT, wrong)), "d", list)
    assert made is not None and made.sequences[0] == [5] * b.CONTEXT and len(made) == MOST
    for damaged in (b"\xff", b"{}", encode(ProbeSet(IMPORT, [[1]]))[:-1], bytes(wire.LIMIT + 1)):
        made = probes_of(TOKENS, damaged, "d", list)
        assert made is not None and made.source == "vocabulary"


def test_numbers_are_never_made_up() -> None:
    def rows(count: int, features: int = 3) -> bytes:
        return encode(ProbeSet(IMPORT, features=[FeatureSequence(1, features, bytes(4 * features))] * count))

    assert probes_of(NUMBERS, b"", "d", list) is None
    assert probes_of(NUMBERS, rows(MOST - 1), "d", list) is None
    assert probes_of(NUMBERS, rows(MOST, 2), "d", list) is None
    made = probes_of(NUMBERS, rows(MOST + 1), "d", list)
    assert made is not None and len(made) == MOST and made.source == IMPORT


def test_a_version_without_other_than_special_tokens_has_probes() -> None:

    made = probes_of(TOKENS, b"", "d", lambda: range(40))
    assert made is not None and len(made) == MOST
