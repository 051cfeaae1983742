"""Samples of traffic are summed over all processes that share a folder."""

from __future__ import annotations

from pathlib import Path

from app.traffic import KEPT_SECONDS, MOST_LABELS, PERIOD, TrafficRing, TrafficSample, VersionTraffic

NOW = 1_745_383_060


def sample(at: int = NOW, requests: int = 1, owner: str = "ann") -> TrafficSample:
    traffic = VersionTraffic(owner, requests, 0.5, requests, {"good": requests}, 0, 0.75 * requests)
    return TrafficSample(at, {"replies": requests}, {"max_waiting": 1}, {"mood:1": traffic})


def test_the_samples_of_all_processes_are_added_up(tmp_path: Path) -> None:
    first, second = (TrafficRing(tmp_path / "traffic", lambda: NOW + 5.0) for _ in range(2))
    first.add(sample())
    second.add(sample(requests=3))
    second.add(sample(NOW + PERIOD))
    for ring in (first, second):
        merged, later = ring.read()
        assert (merged.at, merged.counts, merged.rejected) == (NOW, {"replies": 4}, {"max_waiting": 2})
        traffic = merged.versions["mood:1"]
        assert (traffic.requests, traffic.labels, traffic.confidence) == (4, {"good": 4}, 3.0)
        assert later.at == NOW + PERIOD
    restarted = TrafficRing(tmp_path / "traffic", lambda: NOW + 5.0)  # sees the samples of the ended processes
    assert [s.counts for s in restarted.read()] == [{"replies": 4}, {"replies": 1}]


def test_old_samples_are_dropped_and_files_stay_small(tmp_path: Path) -> None:
    now = NOW
    ring, other = (TrafficRing(tmp_path / "traffic", lambda: float(now)) for _ in range(2))
    other.add(sample(requests=100))
    for _ in range(2 * KEPT_SECONDS // PERIOD + 5):
        ring.add(sample(now))
        now += PERIOD
    for reader in (ring, other):
        assert KEPT_SECONDS // PERIOD - 1 <= len(reader.read()) <= KEPT_SECONDS // PERIOD
    lines = [len(path.read_bytes().splitlines()) for path in (tmp_path / "traffic").iterdir()]
    assert len(lines) == 3 and max(lines) == KEPT_SECONDS // PERIOD


def test_without_a_writable_folder_a_process_keeps_its_own_samples(tmp_path: Path) -> None:
    (tmp_path / "traffic").write_text("not a folder")
    ring = TrafficRing(tmp_path / "traffic", lambda: float(NOW))
    ring.add(sample())
    ring.add(sample())
    assert [s.counts for s in ring.read()] == [{"replies": 2}]


def test_a_process_whose_write_failed_still_reads_and_writes_again(tmp_path: Path) -> None:
    place = tmp_path / "traffic"
    ring, other = (TrafficRing(place, lambda: float(NOW)) for _ in range(2))
    place.write_text("not a folder")
    ring.add(sample())
    place.unlink()
    other.add(sample(requests=3))
    ring.add(sample(requests=5))
    assert [s.counts for s in ring.read()] == [{"replies": 9}]
    assert [s.counts for s in other.read()] == [{"replies": 8}]  # the sample that could not be written is missing


def test_a_damaged_line_is_skipped(tmp_path: Path) -> None:
    ring, other = (TrafficRing(tmp_path, lambda: float(NOW)) for _ in range(2))
    other.add(sample())
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes() + b'{"at": 17')
    assert len(ring.read()) == 1


def test_rare_labels_are_counted_together() -> None:
    traffic = VersionTraffic("ann", labels={f"label {i}": i + 1 for i in range(MOST_LABELS + 2)})
    traffic.bound()
    assert len(traffic.labels) == MOST_LABELS and traffic.others == 1 + 2
