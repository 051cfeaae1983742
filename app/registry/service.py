"""The registry: publishes checkpoints as immutable versions, resolves references, and manages aliases.

Opens the transactions and checks permissions. Models of other principals are treated as if they did not exist.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from app.checkpoint.directory import Checkpoint, Manifest, read
from app.db import usage
from app.db.database import Database
from app.db.paging import Page, check_page, cut
from app.errors import InvalidRequest
from app.quotas import NO_QUOTAS, Quotas
from app.registry import alias_repository, aliases, archive, catalog, garbage, publishing, repository, resolving
from app.registry.aliases import Expected, NewAbstention
from app.registry.catalog import Entry
from app.registry.metrics import read_metrics
from app.registry.publishing import Publication
from app.registry.records import PART, UNSET, Alias, AliasMove, Model, Version, check_name, show
from app.registry.resolving import get_model, get_version
from app.registry.search import Comparison, Filter, compare, select_versions
from app.storage.blobs import BlobStore

PAGE_LIMIT = 1000
CATALOG_LIMIT = 10_000
STATUSES = ("pending", "ready", "failed", "deleted")


class Registry:
    """All operations on models, versions and aliases. One object per process; its methods are thread-safe."""

    def __init__(
        self, database: Database, blobs: BlobStore, scratch: Path, *, grace_seconds: float = 86_400.0,
        quotas: Quotas = NO_QUOTAS,
    ) -> None:  # fmt: skip
        """`scratch` is the folder in which imported archives are unpacked; it is created on demand.

        `grace_seconds` is the minimum time for which unreferenced files and the files of deleted versions are kept.
        """
        self.database, self.blobs, self.scratch, self.grace_seconds = database, blobs, scratch, grace_seconds
        self.quotas = quotas

    # --- publishing ---------------------------------------------------------------------------------------------

    def upload_files(self, directory: Path) -> Manifest:
        """Validate a checkpoint directory and store its files. Call this before the transaction that publishes them."""
        return publishing.upload_files(self.blobs, directory)

    def hold_files(self, session: Session, files: Manifest) -> None:
        """Protect stored files from garbage collection until the caller's transaction ends.

        Raises Unavailable if one of the files has already been deleted.
        """
        publishing.hold_files(session, self.blobs, files)

    def publish(
        self,
        session: Session,
        *,
        name: str,
        owner: str,
        files: Manifest,
        checkpoint: Checkpoint,
        metrics: dict[str, Any],
        job_id: str | None = None,
        alias: str | None = None,
        expected_version: Expected = UNSET,
        loads: bool = True,
    ) -> Version:
        """Register uploaded files as the next version of `name`, and point `alias` to it, in the caller's transaction.

        Raises InvalidRequest (`model_name_taken`) if another principal owns the name, and Conflict (`alias_conflict`)
        if the alias does not point to `expected_version`.
        """
        check_name(name)
        self.hold_files(session, files)
        now = self.database.now(session)
        publication = Publication(name, owner, files, checkpoint, metrics, job_id)
        model, row = publishing.add_version(session, publication, now)
        if alias is not None:
            aliases.move(
                session, model, alias, row.version, principal=owner, now=now, expected=expected_version, loads=loads
            )
        return repository.load_version(session, row)

    # --- reading ------------------------------------------------------------------------------------------------

    def resolve(self, reference: str, principal: str, session: Session | None = None) -> Version:
        """Return the ready version to which a reference currently resolves. Raises NotFound (`model_not_found`)."""
        with self.database.read() if session is None else nullcontext(session) as session_:
            return resolving.resolve(session_, reference, principal)

    def get(self, name: str, number: int, principal: str) -> Version:
        """Return one version, regardless of its status. Raises NotFound (`version_not_found`, `model_not_found`)."""
        with self.database.read() as session:
            get_model(session, name, principal)
            return repository.load_version(session, get_version(session, name, number))

    def model(self, name: str, principal: str) -> Model:
        """Return one model. Raises NotFound (`model_not_found`)."""
        with self.database.read() as session:
            return repository.load_model(session, get_model(session, name, principal).name)

    def list(
        self,
        principal: str,
        *,
        query: str | None = None,
        task: str | None = None,
        architecture: str | None = None,
        after: str | None = None,
        limit: int = 100,
        order: str = "asc",
    ) -> Page[Model]:
        """Return models whose names contain `query`, ordered by name. `after` is the last name on the previous page.

        `task` and `architecture` select models by their newest ready version.
        """
        check_page(limit, order, PAGE_LIMIT)
        query = query.lower() if query else query
        newest = {name: text for name, text in (("task", task), ("architecture", architecture)) if text is not None}
        if not all(PART.fullmatch(text) for text in (query or "", *newest.values())):
            return Page([], False)  # no name can contain these characters
        with self.database.read() as session:
            if after is not None:
                get_model(session, after, principal, param="after")
            return cut(repository.list_models(session, principal, query, newest, after, order, limit), limit)

    def catalog(self, principal: str, *, after: str | None = None, limit: int = CATALOG_LIMIT) -> Page[Entry]:
        """Return a page of the catalog of models and versions. `after` is the last id on the previous page."""
        check_page(limit, "asc", CATALOG_LIMIT)
        with self.database.read() as session:
            return catalog.load_page(session, principal, after, limit)

    def versions(
        self,
        name: str,
        principal: str,
        *,
        status: str | None = None,
        after: int | None = None,
        limit: int = 100,
        order: str = "desc",
    ) -> Page[Version]:
        """Return a model's versions, ordered by number. Includes deleted versions only if `status` is "deleted"."""
        check_page(limit, order, PAGE_LIMIT)
        if status is not None and status not in STATUSES:
            raise InvalidRequest(f"status must be one of {', '.join(STATUSES)}, not {show(status)}", param="status")
        with self.database.read() as session:
            get_model(session, name, principal)
            if after is not None:
                get_version(session, name, after, param="after")
            return cut(repository.list_versions(session, name, status, after, order, limit), limit)

    def search(self, principal: str, filter_: Filter, *, after: str | None = None, limit: int = 100) -> Page[Version]:
        """Return versions of all models, ordered by metric or age. `after` is the last `ref` on the previous page."""
        check_page(limit, filter_.order or "desc", PAGE_LIMIT)
        with self.database.read() as session:
            return select_versions(session, principal, filter_, after, limit)

    def compare(self, references: Sequence[str], principal: str) -> Comparison:
        """Compare the metrics of several versions."""
        with self.database.read() as session:
            return compare([self.resolve(reference, principal, session) for reference in references])

    # --- changing -----------------------------------------------------------------------------------------------

    def set_alias(
        self, name: str, alias: str, version: int, principal: str, *, expected_version: Expected = UNSET,
        required: bool | None = None, loads: bool = True, abstention: NewAbstention = UNSET,
    ) -> Alias:  # fmt: skip
        """Point `alias` to a ready version, creating the alias if needed.

        If `expected_version` is given, the alias must currently point to this version or, if it is None, not exist.
        Otherwise, raises Conflict (`alias_conflict`). If `required` is None or `abstention` is UNSET, the alias keeps
        its current value.
        """
        with self.database.transaction() as session:
            model, now = get_model(session, name, principal, lock=True), self.database.now(session)
            return aliases.move(
                session, model, alias, version, principal=principal, now=now, expected=expected_version,
                required=required, loads=loads, abstention=abstention,
            )  # fmt: skip

    def delete_alias(self, name: str, alias: str, principal: str, *, expected_version: Expected = UNSET) -> None:
        """Remove an alias. Raises NotFound (`alias_not_found`) or Conflict (`alias_conflict`)."""
        with self.database.transaction() as session:
            check_name(alias, "alias")
            model, now = get_model(session, name, principal, lock=True), self.database.now(session)
            aliases.remove(session, model, alias, principal=principal, now=now, expected=expected_version)

    def alias_history(
        self,
        name: str,
        alias: str,
        principal: str,
        *,
        after: int | None = None,
        limit: int = 100,
        order: str = "desc",
    ) -> Page[AliasMove]:
        """Return an alias's moves, even if the alias has been removed."""
        check_name(alias, "alias")
        check_page(limit, order, PAGE_LIMIT)
        with self.database.read() as session:
            get_model(session, name, principal)
            return aliases.load_history(session, name, alias, after, order, limit)

    def required_aliases(self) -> Sequence[Alias]:
        """Return all owners' aliases whose versions must be loaded before the service is ready."""
        with self.database.read() as session:
            return alias_repository.load_all_aliases(session, required=True)

    def every_alias(self) -> Sequence[Alias]:
        """Return the aliases of all models and owners."""
        with self.database.read() as session:
            return alias_repository.load_all_aliases(session)

    def registered(self, digests: Collection[str]) -> set[str]:
        """Return the subset of `digests` that belong to a ready version or to a job's checkpoint."""
        with self.database.read() as session:
            return repository.select_registered(session, digests)

    def references(self, digests: Collection[str], owner: str) -> dict[str, str]:
        """Map `digests` to references. Omits digests for which `owner` has no ready version or job checkpoint."""
        with self.database.read() as session:
            return repository.find_references(session, digests, owner)

    def delete_version(self, name: str, number: int, principal: str) -> Version:
        """Mark a version as deleted. Garbage collection removes the version's files after the grace period.

        Deleting a version again has no effect. Raises InvalidRequest (`version_in_use`) if an alias points to it, or if
        it is the base of an adapter.
        """
        with self.database.transaction() as session:
            get_model(session, name, principal, lock=True)  # while the model is locked, no alias can be moved
            row = get_version(session, name, number, lock=True)
            return publishing.delete_version(session, row, self.database.now(session))

    # --- import and export --------------------------------------------------------------------------------------

    def import_tar(
        self,
        stream: Iterable[bytes],
        *,
        name: str,
        principal: str,
        limit: int,
        alias: str | None = None,
        expected_version: Expected = UNSET,
    ) -> Version:
        """Publish the checkpoint directory from a tar or tar.gz archive of at most `limit` unpacked bytes.

        Raises StorageQuotaExceeded if the principal's quota has no room for the files.
        """
        check_name(name)
        with publishing.scratch_folder(self.scratch) as directory:
            size = archive.unpack(stream, directory, limit)
            with self.database.read() as session:
                usage.check_room(session, self.quotas, principal, size)
            files, checkpoint = self.upload_files(directory), read(directory)
            metrics = read_metrics(directory)
        with self.database.transaction() as session:
            version = self.publish(
                session, name=name, owner=principal, files=files, checkpoint=checkpoint, metrics=metrics, alias=alias,
                expected_version=expected_version, loads=False,
            )  # fmt: skip
            usage.check_stored(session, self.quotas, principal)
            return version

    def export_tar(self, version: Version) -> archive.Export:
        """Return a version's checkpoint directory as a tar archive. Every export of a version yields the same bytes."""
        return archive.export(version.files, self.blobs)

    # --- maintenance --------------------------------------------------------------------------------------------

    def collect_garbage(self, dry_run: bool = False) -> garbage.Collected:
        """Delete the unreferenced files whose grace period is over. In a dry run, only count them.

        Safe to run while versions are being published.
        """
        return garbage.collect(self.database, self.blobs, self.grace_seconds, dry_run=dry_run)

    def fsck(self, *, deep: bool = True, mend: bool = False) -> garbage.Report:
        """Check that the store contains every file to which the tables refer.

        If `deep` is true, read and hash every byte. If `mend` is true, repair rows whose values cannot be encoded in a
        reply. Missing and corrupt files cannot be repaired.
        """
        return garbage.check(self.database, self.blobs, deep=deep, mend=mend)
