"""Publishing, resolving, moving aliases, ownership and deleting, on both databases."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from sqlalchemy import update

from app.checkpoint.adapter import ADAPTER
from app.checkpoint.directory import Manifest, read
from app.db.database import Database
from app.db.tables import AliasRow
from app.errors import CheckpointInvalid, Conflict, InvalidRequest, NotFound, Unavailable
from app.registry import publishing
from app.registry.records import Abstention, Version
from app.registry.resolving import get_version
from app.registry.service import Registry
from app.storage.blobs import BlobStore
from tests.checkpoints import make_adapter, make_checkpoint, publish, safetensors
from tests.db.locks import is_a_transaction_waiting
from tests.serving import wait_until


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_checkpoint(tmp_path / "checkpoint")


def test_versions_are_numbered_and_a_bare_name_means_the_newest(registry: Registry, folder: Path) -> None:
    first = publish(registry, folder, metrics={"test": {"accuracy": 0.5, "loss": float("nan")}})
    second = publish(registry, folder)
    assert (first.ref, second.ref) == ("mood:1", "mood:2")
    assert registry.resolve("mood", "alice").version == 2
    version = registry.resolve("mood:1", "alice")
    assert version == first
    assert version.metrics == {"test": {"accuracy": 0.5, "loss": None}}
    assert version.labels == ["no", "yes"]
    assert (version.task, version.architecture, version.parameters) == ("classification", "lstm", 722)
    assert registry.resolve(f"mood@sha256:{first.digest}", "alice").version == 2


@pytest.mark.parametrize("reference", ["none", "mood:3", "mood@beta", "mood@sha256:" + "0" * 64, "../etc", "ftckpt-1"])
def test_unknown_references_are_not_found(registry: Registry, folder: Path, reference: str) -> None:
    publish(registry, folder)
    with pytest.raises(NotFound) as caught:
        registry.resolve(reference, "alice")
    assert caught.value.code == "model_not_found"


def test_a_similar_name_is_suggested_only_to_those_who_may_see_the_model(registry: Registry, folder: Path) -> None:
    publish(registry, folder, name="tickets")
    for principal, hint in (
        ("alice", "; did you mean 'tickets'?"),
        ("local", "; did you mean 'tickets'?"),
        ("bob", ""),
    ):
        for call, reference in ((registry.resolve, "ticket:2"), (registry.model, "ticket")):
            with pytest.raises(NotFound) as caught:
                call(reference, principal)
            assert caught.value.message.endswith(f"no model has this name; GET /v1/models lists the models{hint}")


def test_digests_of_deleted_versions_are_not_registered(registry: Registry, folder: Path, tmp_path: Path) -> None:
    first, second = publish(registry, folder), publish(registry, make_checkpoint(tmp_path / "other", seed=1))
    digests = [first.digest, second.digest, "0" * 64]
    assert registry.registered(digests) == {first.digest, second.digest}
    registry.delete_version("mood", 1, "alice")
    assert registry.registered(digests) == {second.digest}


def test_a_bare_name_means_the_champion_before_the_newest(registry: Registry, folder: Path) -> None:
    publish(registry, folder, alias="champion", expected_version=None)
    publish(registry, folder)
    assert registry.resolve("mood", "alice").version == 1
    assert registry.resolve("mood@champion", "alice").aliases == ("champion",)


def test_an_alias_moves_by_compare_and_set_with_history(registry: Registry, folder: Path) -> None:
    publish(registry, folder, alias="champion", expected_version=None)
    publish(registry, folder)
    with pytest.raises(Conflict) as caught:
        registry.set_alias("mood", "champion", 2, "alice", expected_version=None)
    assert (caught.value.code, caught.value.retryable) == ("alias_conflict", False)
    moved = registry.set_alias("mood", "champion", 2, "alice", expected_version=1, required=True)
    assert (moved.version, moved.required) == (2, True)
    assert registry.set_alias("mood", "champion", 1, "alice").required is True
    registry.delete_alias("mood", "champion", "alice", expected_version=1)
    moves = registry.alias_history("mood", "champion", "alice", order="asc").items
    assert [(m.from_version, m.to_version) for m in moves] == [(None, 1), (1, 2), (2, 1), (1, None)]
    assert registry.required_aliases() == []


def test_an_alias_keeps_its_abstention_with_history(registry: Registry, folder: Path) -> None:
    """An alias keeps its abstention when it is moved. The abstention applies only to references that name the alias."""
    publish(registry, folder, alias="champion")
    publish(registry, folder)
    wary = Abstention(abstain_below=0.8)
    assert registry.set_alias("mood", "champion", 1, "alice", abstention=wary).abstention == wary
    assert registry.set_alias("mood", "champion", 2, "alice").abstention == wary
    assert {ref: registry.resolve(ref, "alice").abstention for ref in ("mood", "mood@champion", "mood:2")} == {
        "mood": wary, "mood@champion": wary, "mood:2": Abstention(),
    }  # fmt: skip
    assert registry.set_alias("mood", "champion", 2, "alice", abstention=Abstention()).abstention == Abstention()
    registry.set_alias("mood", "champion", 2, "alice", abstention=wary)
    registry.delete_alias("mood", "champion", "alice")
    assert registry.set_alias("mood", "champion", 2, "alice").abstention == Abstention()
    moves = registry.alias_history("mood", "champion", "alice", order="asc").items
    assert [(move.from_version, move.to_version, move.abstention.abstain_below) for move in moves] == [
        (None, 1, None), (1, 1, 0.8), (1, 2, 0.8), (2, 2, None), (2, 2, 0.8), (2, None, None), (None, 2, None),
    ]  # fmt: skip


def test_an_alias_has_no_abstention_that_its_version_does_not_support(registry: Registry, folder: Path) -> None:
    publish(registry, folder, alias="champion")
    with pytest.raises(InvalidRequest, match="requires a calibration") as caught:
        registry.set_alias("mood", "champion", 1, "alice", abstention=Abstention(max_risk=0.05))
    assert (caught.value.code, caught.value.param) == ("no_calibration", "abstention.max_risk")
    assert registry.resolve("mood", "alice").abstention == Abstention()


def test_an_abstention_that_is_sent_again_must_fit_the_new_version(registry: Registry, folder: Path) -> None:
    publish(registry, folder, alias="champion")
    wary = Abstention(max_risk=0.05)
    with registry.database.transaction() as session:
        session.execute(update(AliasRow).values(max_risk=0.05))
    with pytest.raises(InvalidRequest, match="requires a calibration"):
        registry.set_alias("mood", "champion", 1, "alice", abstention=wary)


def test_an_alias_points_to_ready_versions_only(registry: Registry, folder: Path) -> None:
    publish(registry, folder)
    with pytest.raises(NotFound):
        registry.set_alias("mood", "champion", 7, "alice")
    with pytest.raises(InvalidRequest):
        registry.set_alias("mood", "../x", 1, "alice")


def test_nothing_is_published_if_the_alias_has_moved(registry: Registry, folder: Path) -> None:
    publish(registry, folder, alias="champion")
    with pytest.raises(Conflict):
        publish(registry, folder, alias="champion", expected_version=5)
    assert [v.version for v in registry.versions("mood", "alice").items] == [1]
    assert publish(registry, folder).version == 2


def test_models_of_other_principals_seem_not_to_exist(registry: Registry, folder: Path) -> None:
    publish(registry, folder, alias="champion")
    attempts: list[Callable[[], object]] = [
        lambda: registry.resolve("mood:1", "bob"),
        lambda: registry.get("mood", 1, "bob"),
        lambda: registry.model("mood", "bob"),
        lambda: registry.versions("mood", "bob"),
        lambda: registry.set_alias("mood", "champion", 1, "bob"),
        lambda: registry.delete_alias("mood", "champion", "bob"),
        lambda: registry.alias_history("mood", "champion", "bob"),
        lambda: registry.delete_version("mood", 1, "bob"),
    ]
    for attempt in attempts:
        with pytest.raises(NotFound):
            attempt()
    assert registry.list("bob").items == []
    with pytest.raises(InvalidRequest) as caught:
        publish(registry, folder, owner="bob")
    assert caught.value.code == "model_name_taken"
    assert registry.resolve("mood", "local").version == 1


def test_the_base_of_an_adapter_cannot_be_deleted(registry: Registry, tmp_path: Path) -> None:
    transformer = {"architecture": "transformer", "heads": 2}
    folder = make_checkpoint(tmp_path / "base", **transformer)
    base, adapter = publish(registry, folder), publish(registry, make_adapter(folder, tmp_path / "adapter"), "small")
    assert adapter.config["adapter"]["base"] == base.digest and adapter.parameters == base.parameters
    stored = [entry.sha256 for entry in adapter.files.values()]
    assert base.files["model.safetensors"].sha256 in stored  # the store contains the weights of the base once
    publish(registry, folder, "other", "bob")  # does not count, because the adapter is Alice's
    with pytest.raises(InvalidRequest, match="mood:1 is the base of 1 adapter, which must be deleted first: small:1"):
        registry.delete_version("mood", 1, "alice")
    again = publish(registry, folder, "again")  # the same content with another name
    assert registry.delete_version("mood", 1, "alice").status == "deleted"
    registry.delete_version("small", 1, "alice")
    assert registry.delete_version("again", again.version, "alice").status == "deleted"


def test_of_concurrent_deletions_of_equal_bases_of_an_adapter_one_succeeds(registry: Registry, tmp_path: Path) -> None:
    names = _equal_bases(registry, tmp_path)
    results = run_together(2, lambda index: registry.delete_version(names[index], 1, "alice"))
    assert {type(result) for result in results} == {Version, InvalidRequest}


@pytest.mark.postgres
def test_the_deletion_of_an_equal_base_waits_for_an_unfinished_one(
    postgres_database: Database, blobs: BlobStore, tmp_path: Path
) -> None:
    database, registry = postgres_database, Registry(postgres_database, blobs, tmp_path / "scratch")
    names = _equal_bases(registry, tmp_path)
    with ThreadPoolExecutor(1) as threads:
        with database.transaction() as session:
            publishing.delete_version(session, get_version(session, names[0], 1, lock=True), database.now(session))
            other = threads.submit(registry.delete_version, names[1], 1, "alice")
            wait_until(lambda: is_a_transaction_waiting(database))
        with pytest.raises(InvalidRequest, match="two:1 is the base of 1 adapter"):
            other.result(60)


def _equal_bases(registry: Registry, tmp_path: Path) -> tuple[str, str]:
    """Publish one base under two names, and then an adapter of this base. Returns the two names."""
    folder, names = make_checkpoint(tmp_path / "base", architecture="transformer", heads=2), ("one", "two")
    for name in names:
        publish(registry, folder, name)
    publish(registry, make_adapter(folder, tmp_path / "adapter"), "small")
    return names


def test_an_adapter_with_the_weights_of_another_base_is_refused(registry: Registry, tmp_path: Path) -> None:
    transformer = {"architecture": "transformer", "heads": 2}
    folder = make_adapter(make_checkpoint(tmp_path / "base", **transformer), tmp_path / "adapter")
    other = make_checkpoint(tmp_path / "other", seed=5, **transformer)
    shutil.copyfile(other / "model.safetensors", folder / "model.safetensors")
    with pytest.raises(CheckpointInvalid, match="differs from the weights of the base on which the adapter"):
        publish(registry, folder)


def test_an_adapter_whose_merged_weights_could_be_infinite_is_refused(registry: Registry, tmp_path: Path) -> None:
    base = make_checkpoint(tmp_path / "base", architecture="transformer", heads=2)
    folder = make_adapter(base, tmp_path / "adapter")
    tensors = {name: np.full_like(tensor, 1e20) for name, tensor in load_file(folder / ADAPTER).items()}
    save_file(tensors, folder / ADAPTER)
    with pytest.raises(CheckpointInvalid, match="could be infinite"):
        publish(registry, folder)


def test_a_version_with_an_alias_cannot_be_deleted(registry: Registry, folder: Path) -> None:
    publish(registry, folder, alias="champion")
    publish(registry, folder)
    with pytest.raises(InvalidRequest) as caught:
        registry.delete_version("mood", 1, "alice")
    assert caught.value.code == "version_in_use"
    deleted = registry.delete_version("mood", 2, "alice")
    assert deleted.status == "deleted" and deleted.deleted_at is not None
    assert registry.delete_version("mood", 2, "alice") == deleted
    with pytest.raises(NotFound):
        registry.resolve("mood:2", "alice")
    assert [v.version for v in registry.versions("mood", "alice").items] == [1]
    assert [v.version for v in registry.versions("mood", "alice", status="deleted").items] == [2]
    assert publish(registry, folder).version == 3


def test_models_are_listed_in_pages(registry: Registry, folder: Path) -> None:
    for name in ("c", "a", "b"):
        publish(registry, folder, name=name, alias="champion")
    page = registry.list("alice", limit=2)
    assert ([m.name for m in page.items], page.has_more) == (["a", "b"], True)
    page = registry.list("alice", limit=2, after="b")
    assert ([m.name for m in page.items], page.has_more) == (["c"], False)
    model = page.items[0]
    assert (model.versions, model.aliases) == (1, {"champion": 1})
    assert model.newest == registry.resolve("c", "alice")
    assert [m.name for m in registry.list("alice", query="%").items] == []
    names = [m.name for m in registry.list("alice").items]
    assert [m.name for m in registry.list("alice", query=names[0].upper()).items][:1] == names[:1]


def test_a_publication_fails_if_a_file_has_been_collected(registry: Registry, folder: Path) -> None:
    files = registry.upload_files(folder)
    registry.blobs.delete(files["model.safetensors"].sha256)
    with pytest.raises(Unavailable), registry.database.transaction() as session:
        registry.publish(session, name="mood", owner="alice", files=files, checkpoint=read(folder), metrics={})
    assert registry.list("alice").items == []


def run_together(count: int, work: Callable[[int], object]) -> list[object]:
    """Call `work` in `count` threads that start at the same moment. Returns results and exceptions."""
    barrier, results = threading.Barrier(count), list[object]()

    def run(index: int) -> None:
        barrier.wait()
        try:
            results.append(work(index))
        except Exception as error:
            results.append(error)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_concurrent_publications_get_different_numbers(registry: Registry, folder: Path) -> None:
    files, checkpoint = registry.upload_files(folder), read(folder)

    def work(_: int) -> list[int]:
        numbers = []
        for _ in range(5):
            with registry.database.transaction() as session:
                version = registry.publish(
                    session, name="mood", owner="alice", files=files, checkpoint=checkpoint, metrics={}
                )
            numbers.append(version.version)
        return numbers

    results = run_together(8, work)
    numbers = [number for result in results if isinstance(result, list) for number in result]
    assert sorted(numbers) == list(range(1, 41))


def test_of_concurrent_moves_of_an_alias_one_succeeds(registry: Registry, folder: Path) -> None:
    for _ in range(7):
        publish(registry, folder)
    registry.set_alias("mood", "champion", 7, "alice")
    results = run_together(6, lambda i: registry.set_alias("mood", "champion", i + 1, "alice", expected_version=7))
    assert sum(isinstance(result, Conflict) for result in results) == 5
    assert len(registry.alias_history("mood", "champion", "alice").items) == 2


def test_of_concurrent_creations_of_an_alias_one_succeeds(registry: Registry, folder: Path) -> None:
    results = run_together(6, lambda _: publish(registry, folder, alias="champion", expected_version=None))
    assert sum(isinstance(result, Version) for result in results) == 1
    assert len(registry.versions("mood", "alice").items) == 1


def test_archives_are_unpacked_in_the_data_folder(
    registry: Registry, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system's temporary folder may be in memory. Files left by killed programs are removed after a day."""
    stale, fresh = registry.scratch / "import-stale", registry.scratch / "import-fresh"
    for leftover in (stale, fresh):
        leftover.mkdir(parents=True)
        (leftover / "model.safetensors").touch()
    os.utime(stale, (1.0, 1.0))
    directories: list[Path] = []
    upload = registry.upload_files

    def upload_files(directory: Path) -> Manifest:
        directories.append(directory)
        return upload(directory)

    monkeypatch.setattr(registry, "upload_files", upload_files)
    import_tar(registry, folder)
    assert [directory.parent for directory in directories] == [registry.scratch]
    assert list(registry.scratch.iterdir()) == [fresh]


def test_a_checkpoint_that_cannot_be_loaded_is_not_registered(registry: Registry, folder: Path) -> None:
    """If a tensor is missing, publishing fails instead of the first request for the version."""
    tensors = {"head.bias": ([2], bytes(8))}
    (folder / "model.safetensors").write_bytes(safetensors(tensors))
    message = r"model\.safetensors does not match config\.json: tensor 'body\..*' of shape .* is missing"
    with pytest.raises(CheckpointInvalid, match=message):
        import_tar(registry, folder)
    with pytest.raises(CheckpointInvalid, match=message):
        registry.upload_files(folder)
    assert registry.list("alice").items == []


def import_tar(registry: Registry, folder: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.add(folder, arcname=".")
    registry.import_tar(iter([buffer.getvalue()]), name="mood", principal="alice", limit=2**20)
