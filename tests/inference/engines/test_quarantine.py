from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import InvalidRequest
from app.inference.engines.quarantine import (
    ALONE_SECONDS,
    CONVICTION_SECONDS,
    FEW,
    SUSPICION_SECONDS,
    Quarantine,
    Suspicion,
    fingerprint,
)
from app.wire import engine as wire


def classify(text: int, identity: str = "a", **changes: object) -> tuple[wire.Score]:
    return (wire.Score(identity, "digest", "alice", [[text]], **changes),)  # type: ignore[arg-type]


def generate(seed: int, temperature: float = 1.0, choice: int = 0) -> tuple[wire.Generate]:
    params = wire.SamplingParams(seed=seed, temperature=temperature)
    return (wire.Generate("id", "digest", "alice", [1, 2], params, choice),)


def crash(quarantine: Quarantine, *texts: int, answers: int = 0, convict: bool = True) -> None:
    quarantine.crashed([(classify(text), answers) for text in texts], convict=convict)


def suspicion(quarantine: Quarantine, text: int) -> Suspicion | None:
    suspect = quarantine.suspicion(classify(text))
    return suspect[1] if suspect else None


def convicted(quarantine: Quarantine, text: int) -> bool:
    try:
        quarantine.suspicion(classify(text))
    except InvalidRequest as refused:
        assert refused.code == "request_quarantined"
        return True
    return False


@pytest.fixture
def clock() -> list[float]:
    return [0.0]


@pytest.fixture
def quarantine(clock: list[float]) -> Quarantine:
    tell: Callable[[], float] = lambda: clock[0]  # noqa: E731
    return Quarantine(tell)


def test_a_fingerprint_depends_on_the_work_only() -> None:
    assert fingerprint(classify(1)) == fingerprint(classify(1, "b", deadline=3.0))
    assert fingerprint(classify(1)) != fingerprint(classify(2))
    assert fingerprint(generate(1)) == fingerprint(generate(2))
    assert fingerprint(generate(1)) != fingerprint(generate(1, temperature=0.5))
    embed = (wire.Embed("a", "digest", "alice", [[1]]),)
    assert fingerprint(embed) != fingerprint(classify(1))
    numbers = [(wire.Embed("a", "d", "alice", features=[wire.FeatureSequence(1, 1, bytes([n] * 4))]),) for n in (1, 2)]
    assert fingerprint(numbers[0]) != fingerprint(numbers[1])


def test_the_only_suspect_at_the_second_crash_is_convicted_despite_newcomers(
    quarantine: Quarantine,
) -> None:
    crash(quarantine, 1, 2)
    assert suspicion(quarantine, 1) and suspicion(quarantine, 2) and not suspicion(quarantine, 3)
    crash(quarantine, 1, 3)
    assert convicted(quarantine, 1)
    assert suspicion(quarantine, 3) and not convicted(quarantine, 2)
    quarantine.clear(fingerprint(classify(2)))
    assert suspicion(quarantine, 2) is None


def test_equal_requests_at_one_crash_count_once(quarantine: Quarantine) -> None:
    crash(quarantine, *[1] * 8)
    suspect = suspicion(quarantine, 1)
    assert suspect and (suspect.crashes, suspect.company, suspect.alone_seconds) == (1, 1, ALONE_SECONDS)


def test_none_of_several_suspects_is_convicted_but_their_turns_get_longer(quarantine: Quarantine) -> None:
    crash(quarantine, 1, 2)
    first = suspicion(quarantine, 1)
    crash(quarantine, 1, 2)
    second = suspicion(quarantine, 1)
    assert first and second and second.alone_seconds == 2 * first.alone_seconds
    for _ in range(20):
        crash(quarantine, 1, 2)
    last = suspicion(quarantine, 1)
    assert last and last.alone_seconds == 8 * first.alone_seconds and not convicted(quarantine, 2)


def test_a_crowd_of_suspects_shares_the_time_of_a_few(quarantine: Quarantine) -> None:
    crash(quarantine, *range(64))
    suspects = [suspicion(quarantine, text) for text in range(64)]
    assert sum(s.alone_seconds for s in suspects if s) == FEW * ALONE_SECONDS
    assert not any(s.exclusive for s in suspects if s)


def test_all_turns_are_exclusive_once_one_of_a_crowd_was_open_at_two_crashes(quarantine: Quarantine) -> None:
    crash(quarantine, *range(10))
    crash(quarantine, *range(5), *range(20, 25))
    suspects = [suspicion(quarantine, text) for text in (0, 7, 20)]
    assert [s.crashes for s in suspects if s] == [2, 1, 1] and all(s.exclusive for s in suspects if s)
    for text in range(5):
        quarantine.clear(fingerprint(classify(text)))
    suspects = [suspicion(quarantine, text) for text in (7, 20)]
    assert not any(s.exclusive for s in suspects if s)


def test_a_repeated_suspicion_lasts_until_a_late_turn(quarantine: Quarantine, clock: list[float]) -> None:
    crash(quarantine, *range(6))
    crash(quarantine, *range(6))
    clock[0] = CONVICTION_SECONDS - 1
    crash(quarantine, 0)
    assert convicted(quarantine, 0)


def test_work_that_has_made_more_progress_than_at_the_crash_is_not_a_suspect(quarantine: Quarantine) -> None:
    crash(quarantine, 1, 2, answers=5)
    quarantine.crashed([(classify(1), 6), (classify(2), 5)])
    assert not convicted(quarantine, 1) and convicted(quarantine, 2)
    suspect = suspicion(quarantine, 1)
    assert suspect and suspect.crashes == 1


def test_a_conviction_is_undone_when_a_request_beside_it_is_convicted(quarantine: Quarantine) -> None:
    crash(quarantine, 1)
    crash(quarantine, 1, 9)  # the cause is 9, which came in later, but that is not clear yet
    assert convicted(quarantine, 1)
    crash(quarantine, 9)
    assert convicted(quarantine, 9) and not convicted(quarantine, 1)
    crash(quarantine, 1)
    assert convicted(quarantine, 1)


def test_nothing_is_convicted_beside_a_trusted_request(quarantine: Quarantine) -> None:
    crash(quarantine, 1)
    crash(quarantine, 1, convict=False)
    assert not convicted(quarantine, 1)


def test_suspicions_and_convictions_expire(quarantine: Quarantine, clock: list[float]) -> None:
    crash(quarantine, 1)
    clock[0] = SUSPICION_SECONDS
    assert suspicion(quarantine, 1) is None
    crash(quarantine, 1)
    crash(quarantine, 1)
    assert convicted(quarantine, 1)
    clock[0] += CONVICTION_SECONDS
    assert not convicted(quarantine, 1) and suspicion(quarantine, 1)  # it may be tried again, alone
    crash(quarantine, 1)
    assert convicted(quarantine, 1)


def test_expired_suspicions_are_dropped_and_cost_no_fingerprint(
    quarantine: Quarantine, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(300):
        crash(quarantine, number)
        clock[0] += SUSPICION_SECONDS
        assert suspicion(quarantine, -1) is None
        assert not quarantine._suspects
    monkeypatch.setattr("app.inference.engines.quarantine.fingerprint", None)
    assert suspicion(quarantine, -1) is None


def test_the_number_of_records_is_bounded(quarantine: Quarantine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.inference.engines.quarantine.MEMORY", 100)
    for number in range(300):
        for _ in range(2):
            crash(quarantine, number)
        crash(quarantine, -number - 1)
    assert len(quarantine._convicted) == len(quarantine._suspects) == 100


@given(st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=4), max_size=20))
def test_work_that_was_open_at_one_crash_only_is_never_convicted(deaths: list[list[int]]) -> None:
    quarantine = Quarantine(lambda: 0.0)
    for texts in deaths:
        crash(quarantine, *texts)
    for text in range(6):
        if sum(text in texts for texts in deaths) < 2:
            assert not convicted(quarantine, text)


@given(st.lists(st.tuples(st.sets(st.integers(1, 6)), st.sets(st.integers(10, 30))), min_size=2, max_size=8))
def test_a_cause_that_is_tried_by_itself_is_convicted_at_its_second_crash(
    deaths: list[tuple[set[int], set[int]]],
) -> None:
    """Work 0 causes each crash. At the second crash, it is the only suspect, because all other work is new."""
    quarantine = Quarantine(lambda: 0.0)
    (old, _), (_, fresh) = deaths[:2]
    crash(quarantine, 0, *old)
    crash(quarantine, 0, *fresh)
    assert convicted(quarantine, 0)
    assert not any(convicted(quarantine, text) for text in old | fresh)


def live(quarantine: Quarantine, line: list[int]) -> None:
    """Simulate one run of an engine with this work, in this order. Work 0 crashes it at the end, after all turns.

    A suspect ends within its exclusive turn. Any other suspect is still open when the next one starts.
    """
    inside, shut = [], False
    for text in line:
        suspect = quarantine.suspicion(classify(text))
        if suspect is not None and shut:
            continue
        inside.append(text)
        if suspect is not None and suspect[1].exclusive:
            shut = text == 0
            if not shut:
                quarantine.clear(suspect[0])
    crash(quarantine, *inside)


@given(st.lists(st.sets(st.integers(1, 40)).map(lambda crowd: [0, *crowd]).flatmap(st.permutations), min_size=3))
def test_a_late_cause_in_a_crowd_is_convicted_at_its_third_crash(lives: list[list[int]]) -> None:
    quarantine = Quarantine(lambda: 0.0)
    for line in lives[:3]:
        if not convicted(quarantine, 0):
            live(quarantine, line)
    assert convicted(quarantine, 0)
    assert not any(convicted(quarantine, text) for text in range(1, 41))
