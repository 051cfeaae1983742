"""Each cached directory is complete and verified, or absent. Threads and processes can share the cache."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from app.checkpoint.directory import Manifest, digest, manifest
from app.errors import CheckpointInvalid
from app.storage.blobs import BlobStore
from app.storage.errors import BlobCorrupt, BlobMissing
from app.storage.local_cache import LocalCache
from tests.checkpoints import make_checkpoint

FILL = """
import sys, pathlib
from app.checkpoint.directory import manifest, digest
from app.storage.blobs import BlobStore
from app.storage.local_cache import LocalCache
root, source = map(pathlib.Path, sys.argv[1:])
files = manifest(source)
print(LocalCache(root / "cache", BlobStore((root / "blobs").as_uri())).checkpoint(digest(files), files))
"""


@pytest.fixture
def files(tmp_path: Path, blobs: BlobStore) -> Manifest:
    directory = make_checkpoint(tmp_path / "checkpoint")
    (directory / "plots").mkdir()
    (directory / "plots" / "loss.svg").write_text("<svg/>")
    files = manifest(directory)
    for path in files:
        blobs.put_file(directory / path)
    return files


def test_a_checkpoint_is_fetched_once(tmp_path: Path, blobs: BlobStore, files: Manifest) -> None:
    cache = LocalCache(tmp_path / "cache", blobs)
    directory = cache.checkpoint(digest(files), files)
    assert manifest(directory) == files
    blobs.delete(files["model.safetensors"].sha256)
    assert cache.checkpoint(digest(files), files) == directory
    assert list((tmp_path / "cache" / "partial").iterdir()) == []


@pytest.mark.parametrize("again", [False, True], ids=["this process", "another process"])
def test_a_changed_file_is_fetched_again(tmp_path: Path, blobs: BlobStore, files: Manifest, again: bool) -> None:
    cache = LocalCache(tmp_path / "cache", blobs)
    directory = cache.checkpoint(digest(files), files)
    data = (directory / "model.safetensors").read_bytes()
    time = (directory / "model.safetensors").stat().st_mtime_ns
    (directory / "model.safetensors").write_bytes(data[:-1] + b"\x07")
    os.utime(directory / "model.safetensors", ns=(time + 1, time + 1))  # on some systems two writes have the same time
    if again:
        cache = LocalCache(tmp_path / "cache", blobs)
    assert manifest(cache.checkpoint(digest(files), files)) == files


@pytest.mark.parametrize("change", ["extra", "missing", "link"])
def test_other_changes_are_detected_too(tmp_path: Path, blobs: BlobStore, files: Manifest, change: str) -> None:
    cache = LocalCache(tmp_path / "cache", blobs)
    directory = cache.checkpoint(digest(files), files)
    if change == "extra":
        (directory / "evil.pkl").write_bytes(b"x")
    else:
        (directory / "training.json").unlink()
    if change == "link":
        (directory / "training.json").symlink_to("/etc/passwd")
    assert manifest(cache.checkpoint(digest(files), files)) == files


def test_a_checkpoint_that_cannot_be_fetched_is_absent(tmp_path: Path, blobs: BlobStore, files: Manifest) -> None:
    cache, sha256 = LocalCache(tmp_path / "cache", blobs), files["tokenizer.json"].sha256
    (tmp_path / "blobs" / "sha256" / sha256[:2] / sha256).write_bytes(b"{}")
    with pytest.raises(BlobCorrupt):
        cache.checkpoint(digest(files), files)
    blobs.delete(sha256)
    with pytest.raises(BlobMissing):
        cache.checkpoint(digest(files), files)
    assert not (tmp_path / "cache" / digest(files)).exists()
    assert list((tmp_path / "cache" / "partial").iterdir()) == []


def test_a_manifest_must_match_its_digest(tmp_path: Path, blobs: BlobStore, files: Manifest) -> None:
    cache = LocalCache(tmp_path / "cache", blobs)
    with pytest.raises(CheckpointInvalid):
        cache.checkpoint("0" * 64, files)
    with pytest.raises(CheckpointInvalid):
        escape = {"../../x": files["config.json"]}
        cache.checkpoint(digest(escape), escape)


def test_many_threads_can_request_the_same_checkpoint(tmp_path: Path, blobs: BlobStore, files: Manifest) -> None:
    cache, results = LocalCache(tmp_path / "cache", blobs), list[Manifest]()

    def work() -> None:
        results.append(manifest(cache.checkpoint(digest(files), files)))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [files] * 8


def test_processes_can_share_a_cache(tmp_path: Path, blobs: BlobStore, files: Manifest) -> None:
    command = [sys.executable, "-c", FILL, str(tmp_path), str(tmp_path / "checkpoint")]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    directories = {process.communicate(timeout=60)[0].strip() for process in processes}
    assert directories == {str(tmp_path / "cache" / digest(files))}
    assert manifest(Path(directories.pop())) == files


def put_checkpoints(tmp_path: Path, blobs: BlobStore, count: int) -> list[Manifest]:
    """Put `count` further checkpoints into the store. Returns their manifests."""
    manifests = []
    for seed in range(1, count + 1):
        directory = make_checkpoint(tmp_path / f"other-{seed}", seed=seed)
        manifests.append(manifest(directory))
        for path in manifests[-1]:
            blobs.put_file(directory / path)
    return manifests


def test_the_least_recently_requested_checkpoints_are_removed(
    tmp_path: Path, blobs: BlobStore, files: Manifest
) -> None:
    """The limit is the size of one checkpoint. Checkpoints requested a moment ago may be in use, and are kept."""
    versions = [files, *put_checkpoints(tmp_path, blobs, 3)]
    cache = LocalCache(tmp_path / "cache", blobs, limit=sum(entry.size for entry in files.values()))
    first, second, third, last = versions
    paths = {digest(v): cache.checkpoint(digest(v), v) for v in (first, second, third)}
    assert all(path.exists() for path in paths.values())  # all were requested a moment ago
    for number, version in enumerate((first, second)):
        os.utime(tmp_path / "cache" / "locks" / digest(version), (number, number))
    cache.checkpoint(digest(first), first)  # requested again
    directory = cache.checkpoint(digest(last), last)
    assert directory.exists() and not paths[digest(second)].exists()
    assert paths[digest(first)].exists() and paths[digest(third)].exists()
    assert manifest(cache.checkpoint(digest(second), second)) == second


def age(root: Path) -> None:
    """Make every cached checkpoint look as if it had not been used for a long time."""
    for lock in (root / "locks").iterdir():
        os.utime(lock, (1.0, 1.0))


def test_nothing_is_kept_of_removed_checkpoints(tmp_path: Path, blobs: BlobStore, files: Manifest) -> None:
    root, versions = tmp_path / "cache", put_checkpoints(tmp_path, blobs, 5)
    cache, other = LocalCache(root, blobs, limit=1), LocalCache(root, blobs, limit=1)
    for version in versions:
        cache.checkpoint(digest(version), version)
        other.checkpoint(digest(version), version)
        age(root)
    cache.checkpoint(digest(files), files)
    assert [path.name for path in (root / "locks").iterdir()] == [digest(files)]
    assert list(cache._signatures) == [digest(files)]
    age(root)
    other.checkpoint(digest(versions[0]), versions[0])
    assert list(other._signatures) == [digest(versions[0])]


def test_a_failed_fetch_leaves_no_lock_file(tmp_path: Path, blobs: BlobStore, files: Manifest) -> None:
    blobs.delete(files["config.json"].sha256)
    with pytest.raises(BlobMissing):
        LocalCache(tmp_path / "cache", blobs).checkpoint(digest(files), files)
    assert list((tmp_path / "cache" / "locks").iterdir()) == []


def test_a_lock_excludes_others_although_its_file_is_removed(tmp_path: Path, blobs: BlobStore) -> None:
    """While others wait, each holder of the lock removes the lock file, because the checkpoint has no directory."""
    cache, holders, most = LocalCache(tmp_path / "cache", blobs), [0], [0]

    def hold() -> None:
        for _ in range(50):
            with cache._locked("0" * 64):
                holders[0] += 1
                most[0] = max(most[0], holders[0])
                os.sched_yield()
                holders[0] -= 1

    threads = [threading.Thread(target=hold) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]


def test_a_miss_does_not_walk_the_cached_checkpoints(
    tmp_path: Path, blobs: BlobStore, files: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cost of a miss depends on the number of cached checkpoints, but not on the number of their files.

    A miss reads one lock file per checkpoint. It reads as many folders with twenty checkpoints as with two.
    """
    versions, counts, scan = put_checkpoints(tmp_path, blobs, 20), [], os.scandir
    scanned: list[object] = []

    def count_scan(path: Any = ".") -> Any:
        scanned.append(path)
        return scan(path)

    for count in (2, 20):
        cache = LocalCache(tmp_path / f"cache-{count}", blobs)
        for version in versions[:count]:
            cache.checkpoint(digest(version), version)
        scanned.clear()
        with monkeypatch.context() as patch:
            patch.setattr(os, "scandir", count_scan)
            cache.checkpoint(digest(files), files)
        counts.append(len(scanned))
    assert counts[0] == counts[1]


def test_sizes_that_lock_files_lack_are_measured(tmp_path: Path, blobs: BlobStore, files: Manifest) -> None:
    """Lock files of version 0.1.0 are empty."""
    root, version = tmp_path / "cache", put_checkpoints(tmp_path, blobs, 1)[0]
    target = LocalCache(root, blobs).checkpoint(digest(files), files)
    (root / "locks" / digest(files)).write_bytes(b"")
    age(root)
    limit = sum(entry.size for entry in version.values())
    LocalCache(root, blobs, limit).checkpoint(digest(version), version)
    assert not target.exists()
