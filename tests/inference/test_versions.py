from __future__ import annotations

import asyncio
import threading
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from app.checkpoint.directory import FileEntry
from app.db.database import DatabaseUnavailable
from app.errors import CheckpointInvalid, NotFound, OstinatoError
from app.inference import versions as module
from app.inference.versions import Versions
from tests.checkpoints import make_checkpoint

NUMERIC = {"input": "features", "features": 1, "vocab_size": 0}


@dataclass
class Record:
    """A version of a fake registry."""

    ref: str
    digest: str
    owner: str = "local"
    aliases: tuple[str, ...] = ()
    files: Mapping[str, FileEntry] = field(default_factory=dict)

    @property
    def model(self) -> str:
        return self.ref.partition(":")[0]

    @property
    def version(self) -> int:
        return int(self.ref.partition(":")[2])


class OneDirectory:
    """A cache that returns the same directory for every version, and counts how often it is asked."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.asked = directory, 0

    def checkpoint(self, digest_: str, files: Mapping[str, FileEntry]) -> Path:
        self.asked += 1
        return self.directory


def resolve(reference: str, principal: str) -> Record:
    if reference == "nothing":
        raise NotFound("there is no model 'nothing'", code="model_not_found", param="model")
    return Record(f"{reference}:1", f"digest-{reference}")


@pytest.fixture
def cache(tmp_path: Path) -> OneDirectory:
    return OneDirectory(make_checkpoint(tmp_path / "checkpoint", **NUMERIC))


def versions_with(cache: OneDirectory, ttl: float = 1000.0) -> Versions:
    return Versions(resolve, cache, 1000.0, ttl)


async def failure(versions: Versions, reference: str) -> OstinatoError:
    with pytest.raises(OstinatoError) as caught:
        await versions.get(reference, "local")
    return caught.value


def check_separate(errors: list[OstinatoError], kind: type[OstinatoError], code: str) -> None:
    assert len({id(error) for error in errors}) == len(errors)
    for error in errors:
        assert type(error) is kind and error.code == code and error.message == errors[0].message
        assert len(traceback.extract_tb(error.__traceback__)) <= 5 and error.__context__ is None


def test_each_caller_who_waits_for_a_reference_gets_an_exception_of_its_own(cache: OneDirectory) -> None:
    async def scenario() -> list[OstinatoError]:
        versions = versions_with(cache)
        return await asyncio.gather(*[failure(versions, "nothing") for _ in range(8)])

    errors = asyncio.run(scenario())
    check_separate(errors, NotFound, "model_not_found")
    assert {error.param for error in errors} == {"model"}


def test_each_caller_who_waits_for_files_gets_an_exception_of_its_own(cache: OneDirectory, tmp_path: Path) -> None:
    (cache.directory / "config.json").write_text("no JSON")

    async def scenario() -> list[OstinatoError]:
        versions = versions_with(cache)
        return await asyncio.gather(*[failure(versions, "mood") for _ in range(8)])

    check_separate(asyncio.run(scenario()), CheckpointInvalid, "invalid_checkpoint")


def test_expired_references_are_dropped(cache: OneDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STALE_SECONDS", -1.0)

    async def scenario() -> int:
        versions = versions_with(cache, ttl=-1.0)
        for number in range(300):
            await versions.find(f"m{number}", "local")
        return len(versions._records)

    assert asyncio.run(scenario()) <= 1


def test_the_last_answer_is_used_while_the_database_is_away(
    cache: OneDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = False

    def resolve_or_fail(reference: str, principal: str) -> Record:
        if away:
            raise DatabaseUnavailable("away")
        return resolve(reference, principal)

    async def scenario() -> None:
        nonlocal away
        versions = Versions(resolve_or_fail, cache, 1000.0, -1.0)
        earlier = await versions.find("mood", "ann")
        away = True
        assert await versions.find("mood", "ann") is earlier
        for reference, principal in (("other", "ann"), ("mood", "bob")):
            with pytest.raises(DatabaseUnavailable):
                await versions.find(reference, principal)
        monkeypatch.setattr(module, "STALE_SECONDS", -1.0)
        with pytest.raises(DatabaseUnavailable):
            await versions.find("mood", "ann")

    asyncio.run(scenario())


def test_the_last_answer_of_a_deleted_model_is_not_used(cache: OneDirectory) -> None:
    errors: list[OstinatoError] = []

    def resolve_or_fail(reference: str, principal: str) -> Record:
        if errors:
            raise errors[-1]
        return resolve(reference, principal)

    async def scenario() -> None:
        versions = Versions(resolve_or_fail, cache, 1000.0, -1.0)
        await versions.find("mood", "ann")
        for error in (NotFound("deleted"), DatabaseUnavailable("away")):
            errors.append(error)
            with pytest.raises(type(error)):
                await versions.find("mood", "ann")

    asyncio.run(scenario())


def test_a_request_with_an_answer_does_not_wait_for_long(cache: OneDirectory) -> None:
    asked, answer = 0, threading.Event()

    def resolve_slowly(reference: str, principal: str) -> Record:
        nonlocal asked
        asked += 1
        assert asked == 1 or answer.wait(30)
        return resolve(reference, principal)

    async def scenario() -> None:
        versions = Versions(resolve_slowly, cache, 1000.0, -1.0)
        earlier = await versions.find("mood", "ann")
        assert await versions.find("mood", "ann") is earlier
        answer.set()

    asyncio.run(scenario())


def test_the_number_of_cached_references_is_bounded(cache: OneDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REFERENCES", 100)

    async def scenario() -> int:
        versions = versions_with(cache)
        for number in range(300):
            await versions.find(f"m{number}", "local")
        return len(versions._records)

    assert asyncio.run(scenario()) == 100


def test_the_least_recently_used_assets_are_dropped(cache: OneDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ASSETS", 10)

    async def scenario() -> Versions:
        versions = versions_with(cache)
        for number in range(300):
            await versions.get("hot", "local")
            await versions.get(f"m{number}", "local")
        return versions

    versions = asyncio.run(scenario())
    assert len(versions._assets) == 10 and "digest-hot" in versions._assets
    assert cache.asked == 301  # assets that are in use all the time are read once


def test_the_memory_of_assets_is_bounded(cache: OneDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest version is always kept. The larger the tokenizers are, the fewer other versions are kept."""
    monkeypatch.setattr(module, "ASSETS_BYTES", 100 * module.MEMORY_PER_BYTE)

    def sized(reference: str, principal: str) -> Record:
        files = {"tokenizer.json": FileEntry("0" * 64, int(reference)), "model.safetensors": FileEntry("0" * 64, 10**9)}
        return Record(f"{reference}:1", f"digest-{reference}", files=files)

    async def scenario() -> None:
        versions = Versions(sized, cache, 1000.0)
        for size, kept in ((50, {50}), (30, {50, 30}), (40, {30, 40}), (31, {40, 31}), (1000, {1000}), (1, {1})):
            await versions.get(str(size), "local")
            assert versions.digests == {f"digest-{size}" for size in kept}, size
            assert versions.memory == sum(kept) * module.MEMORY_PER_BYTE

    asyncio.run(scenario())


def test_the_assets_of_versions_that_are_gone_are_dropped(cache: OneDirectory) -> None:
    async def scenario() -> None:
        versions = versions_with(cache)
        for name in ("kept", "deleted"):
            await versions.get(name, "local")
        assert versions.digests == {"digest-kept", "digest-deleted"}
        versions.forget(["digest-deleted", "digest-never-read"])
        assert versions.digests == {"digest-kept"}

    asyncio.run(scenario())


@pytest.mark.parametrize("available", [True, False])
def test_the_load_message_contains_the_owners_probes(cache: OneDirectory, available: bool) -> None:
    def probes(digest: str, owner: str) -> bytes:
        if not available:
            raise DatabaseUnavailable("the database does not respond")
        return f"{digest} {owner}".encode()

    async def scenario() -> None:
        versions = Versions(resolve, cache, 1000.0, probes=probes)
        message = await versions.load_message(await versions.get("m", "local"))
        assert message.probes == (b"digest-m local" if available else None)

    asyncio.run(scenario())
