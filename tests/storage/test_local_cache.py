"""The local cache: directories whole or absent, every byte checked, safe across threads and processes."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from app.checkpoint.directory import Manifest, digest, manifest
from app.errors import CheckpointInvalid
from app.storage.blobs import BlobCorrupt, BlobMissing, BlobStore
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
    found = manifest(directory)
    for path in found:
        blobs.put_file(directory / path)
    return found


def test_a_checkpoint_is_fetched_whole(tmp_path: Path, blobs: BlobStore, files: Manifest) -> None:
    cache = LocalCache(tmp_path / "cache", blobs)
    found = cache.checkpoint(digest(files), files)
    assert manifest(found) == files
    blobs.delete(files["model.safetensors"].sha256)
    assert cache.checkpoint(digest(files), files) == found
    assert list((tmp_path / "cache" / "partial").iterdir()) == []


@pytest.mark.parametrize("again", [False, True], ids=["this process", "another process"])
def test_a_changed_file_is_fetched_again(tmp_path: Path, blobs: BlobStore, files: Manifest, again: bool) -> None:
    cache = LocalCache(tmp_path / "cache", blobs)
    found = cache.checkpoint(digest(files), files)
    data = (found / "model.safetensors").read_bytes()
    was = (found / "model.safetensors").stat().st_mtime_ns
    (found / "model.safetensors").write_bytes(data[:-1] + b"\x07")
    os.utime(found / "model.safetensors", ns=(was + 1, was + 1))  # on some systems two writes have the same time
    if again:
        cache = LocalCache(tmp_path / "cache", blobs)
    assert manifest(cache.checkpoint(digest(files), files)) == files


@pytest.mark.parametrize("change", ["extra", "missing", "link"])
def test_other_changes_are_found_too(tmp_path: Path, blobs: BlobStore, files: Manifest, change: str) -> None:
    cache = LocalCache(tmp_path / "cache", blobs)
    found = cache.checkpoint(digest(files), files)
    if change == "extra":
        (found / "evil.pkl").write_bytes(b"x")
    else:
        (found / "training.json").unlink()
    if change == "link":
        (found / "training.json").symlink_to("/etc/passwd")
    assert manifest(cache.checkpoint(digest(files), files)) == files


def test_what_cannot_be_fetched_is_absent(tmp_path: Path, blobs: BlobStore, files: Manifest) -> None:
    cache, sha256 = LocalCache(tmp_path / "cache", blobs), files["tokenizer.json"].sha256
    (tmp_path / "blobs" / "sha256" / sha256[:2] / sha256).write_bytes(b"{}")
    with pytest.raises(BlobCorrupt):
        cache.checkpoint(digest(files), files)
    blobs.delete(sha256)
    with pytest.raises(BlobMissing):
        cache.checkpoint(digest(files), files)
    assert not (tmp_path / "cache" / digest(files)).exists()
    assert list((tmp_path / "cache" / "partial").iterdir()) == []


def test_a_manifest_must_be_its_digests(tmp_path: Path, blobs: BlobStore, files: Manifest) -> None:
    cache = LocalCache(tmp_path / "cache", blobs)
    with pytest.raises(CheckpointInvalid):
        cache.checkpoint("0" * 64, files)
    with pytest.raises(CheckpointInvalid):
        escape = {"../../x": files["config.json"]}
        cache.checkpoint(digest(escape), escape)


def test_many_threads_get_the_same(tmp_path: Path, blobs: BlobStore, files: Manifest) -> None:
    cache, results = LocalCache(tmp_path / "cache", blobs), list[Manifest]()

    def work() -> None:
        results.append(manifest(cache.checkpoint(digest(files), files)))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [files] * 8


def test_processes_share_it(tmp_path: Path, blobs: BlobStore, files: Manifest) -> None:
    command = [sys.executable, "-c", FILL, str(tmp_path), str(tmp_path / "checkpoint")]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    found = {process.communicate(timeout=60)[0].strip() for process in started}
    assert found == {str(tmp_path / "cache" / digest(files))}
    assert manifest(Path(found.pop())) == files


def test_what_was_not_asked_for_of_late_gives_way(tmp_path: Path, blobs: BlobStore, files: Manifest) -> None:
    """The limit holds one checkpoint: the oldest go first, what may be in use stays."""
    versions = [files]
    for seed in (1, 2, 3):
        directory = make_checkpoint(tmp_path / f"other-{seed}", seed=seed)
        versions.append(manifest(directory))
        for path in versions[-1]:
            blobs.put_file(directory / path)
    cache = LocalCache(tmp_path / "cache", blobs, limit=sum(entry.size for entry in files.values()))
    first, second, third, last = versions
    there = {digest(v): cache.checkpoint(digest(v), v) for v in (first, second, third)}
    assert all(path.exists() for path in there.values())  # whoever asked a moment ago may still read
    for number, version in enumerate((first, second)):
        os.utime(tmp_path / "cache" / "locks" / digest(version), (number, number))
    cache.checkpoint(digest(first), first)  # asked for again
    found = cache.checkpoint(digest(last), last)
    assert found.exists() and not there[digest(second)].exists()
    assert there[digest(first)].exists() and there[digest(third)].exists()
    assert manifest(cache.checkpoint(digest(second), second)) == second
