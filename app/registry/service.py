"""The registry: publishes checkpoints as immutable versions, moves aliases, says what a reference means.

Knows the rules and the transactions; SQL is in the repository. Where a principal may not see a thing, it is told
that there is none.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from app.checkpoint.directory import Checkpoint, Manifest, read
from app.db.database import Database
from app.db.paging import Page, check_page, cut
from app.db.tables import VersionRow
from app.errors import InvalidRequest, NotFound
from app.registry import aliases, archive, catalog, garbage, publishing, repository, resolving
from app.registry.aliases import Expected
from app.registry.catalog import Entry
from app.registry.metrics import of_directory
from app.registry.publishing import Publication
from app.registry.records import PART, UNSET, Alias, AliasMove, Model, Version, check_name, show
from app.registry.resolving import found_model, found_version
from app.registry.search import Comparison, Filter, compare, select_versions
from app.storage.blobs import BlobStore

PAGE_LIMIT = 1000
CATALOG_LIMIT = 10_000
MOVE_LIMIT = 2**63  # numbers of rows end there
STATUSES = ("pending", "ready", "failed", "deleted")


class Registry:
    """One per process. Its methods are safe to call from any thread."""

    def __init__(self, database: Database, blobs: BlobStore, scratch: Path, *, grace_seconds: float = 86_400.0) -> None:
        """`scratch`: the folder in which imported archives are unpacked; made when it is needed."""
        self.database, self.blobs, self.scratch, self.grace_seconds = database, blobs, scratch, grace_seconds

    # --- publishing ---------------------------------------------------------------------------------------------

    def upload_files(self, directory: Path) -> Manifest:
        """Check a checkpoint directory and store its files, before the transaction that publishes them."""
        return publishing.upload_files(self.blobs, directory)

    def hold_files(self, session: Session, files: Manifest) -> None:
        """Protect these files from garbage collection until the caller's transaction ends.

        Raises Unavailable if one of them is already gone.
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
    ) -> Version:
        """Register uploaded files as the next version of `name`, and move `alias` to it, in the caller's transaction.

        Raises InvalidRequest (`model_name_taken`) if another principal owns the name, Conflict (`alias_conflict`) if
        the alias does not point at `expected_version`.
        """
        check_name(name)
        self.hold_files(session, files)
        now = self.database.now(session)
        publication = Publication(name, owner, files, checkpoint, metrics, job_id)
        model, row = publishing.add_version(session, publication, now)
        if alias is not None:
            aliases.move(session, model, alias, row.version, principal=owner, now=now, expected=expected_version)
        return self._record(session, row)

    # --- finding ------------------------------------------------------------------------------------------------

    def resolve(self, reference: str, principal: str, session: Session | None = None) -> Version:
        """The ready version that a reference means now. Raises NotFound (`model_not_found`)."""
        with self._reading(session) as session_:
            return resolving.resolve(session_, reference, principal)

    def get(self, name: str, number: int, principal: str) -> Version:
        """One version, whatever its status. Raises NotFound (`version_not_found`, `model_not_found`)."""
        with self.database.read() as session:
            found_model(session, name, principal)
            return self._record(session, found_version(session, name, number))

    def model(self, name: str, principal: str) -> Model:
        with self.database.read() as session:
            return repository.described(session, found_model(session, name, principal).name)

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
        """Models by name; `after` is a name, `query` a part of names; the rest is said of the newest version."""
        check_page(limit, order, PAGE_LIMIT)
        query = query.lower() if query else query
        newest = {name: text for name, text in (("task", task), ("architecture", architecture)) if text is not None}
        if not all(PART.fullmatch(text) for text in (query or "", *newest.values())):
            return Page([], False)  # no name has such a part
        with self.database.read() as session:
            if after is not None:
                found_model(session, after, principal, param="after")
            return cut(repository.models(session, principal, query, newest, after, order, limit), limit)

    def catalog(self, principal: str, *, after: str | None = None, limit: int = CATALOG_LIMIT) -> Page[Entry]:
        """Every model and every ready version in short; `after` is the id of the last entry seen."""
        check_page(limit, "asc", CATALOG_LIMIT)
        with self.database.read() as session:
            return catalog.page(session, principal, after, limit)

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
        """Versions by number; deleted ones only where `status` asks for them."""
        check_page(limit, order, PAGE_LIMIT)
        if status is not None and status not in STATUSES:
            raise InvalidRequest(f"status {show(status)} can be {', '.join(STATUSES)}", param="status")
        with self.database.read() as session:
            found_model(session, name, principal)
            if after is not None:
                found_version(session, name, after, param="after")
            return cut(repository.versions(session, name, status, after, order, limit), limit)

    def search(self, principal: str, filter_: Filter, *, after: str | None = None, limit: int = 100) -> Page[Version]:
        """Versions of all models, by metric or by age; `after` is the `ref` of the last one seen."""
        check_page(limit, filter_.order or "desc", PAGE_LIMIT)
        with self.database.read() as session:
            return select_versions(session, principal, filter_, after, limit)

    def compare(self, references: Sequence[str], principal: str) -> Comparison:
        """The figures of some versions side by side."""
        with self.database.read() as session:
            return compare([self.resolve(reference, principal, session) for reference in references])

    # --- changing -----------------------------------------------------------------------------------------------

    def set_alias(
        self,
        name: str,
        alias: str,
        version: int,
        principal: str,
        *,
        expected_version: Expected = UNSET,
        required: bool | None = None,
    ) -> Alias:
        """Point `alias` at a ready version if it is now at `expected_version` (None: if there is none).

        `required` None leaves that mark as it is. Raises Conflict (`alias_conflict`).
        """
        with self.database.transaction() as session:
            row = found_model(session, name, principal, lock=True)
            now = self.database.now(session)
            return aliases.move(
                session,
                row,
                alias,
                version,
                principal=principal,
                now=now,
                expected=expected_version,
                required=required,
            )

    def delete_alias(self, name: str, alias: str, principal: str, *, expected_version: Expected = UNSET) -> None:
        with self.database.transaction() as session:
            check_name(alias, "alias")
            row, now = found_model(session, name, principal, lock=True), self.database.now(session)
            aliases.remove(session, row, alias, principal=principal, now=now, expected=expected_version)

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
        """Every move of an alias, also of one that is gone."""
        check_name(alias, "alias")
        check_page(limit, order, PAGE_LIMIT)
        with self.database.read() as session:
            found_model(session, name, principal)
            if after is not None and not (0 < after < MOVE_LIMIT and repository.moved(session, name, alias, after)):
                raise NotFound(f"after is no move of {name}@{alias}", code="move_not_found", param="after")
            return cut(repository.history(session, name, alias, after, order, limit), limit)

    def required_aliases(self) -> Sequence[Alias]:
        """Those that readiness waits for, of all owners."""
        with self.database.read() as session:
            return repository.every_alias(session, required=True)

    def every_alias(self) -> Sequence[Alias]:
        """Of all models and owners, for the metrics."""
        with self.database.read() as session:
            return repository.every_alias(session)

    def registered(self, digests: Collection[str]) -> set[str]:
        """Those of the digests that a ready version or a job's checkpoint has."""
        with self.database.read() as session:
            return repository.registered(session, digests)

    def references(self, digests: Collection[str], owner: str) -> dict[str, str]:
        """What `owner` calls those of the digests that are its own."""
        with self.database.read() as session:
            return repository.references(session, digests, owner)

    def delete_version(self, name: str, number: int, principal: str) -> Version:
        """Mark a version as deleted; its bytes go with a garbage collection after the grace time.

        Raises InvalidRequest (`version_in_use`) while an alias points at it. Twice is no error.
        """
        with self.database.transaction() as session:
            found_model(session, name, principal, lock=True)
            row = found_version(session, name, number, lock=True)
            record = self._record(session, row)
            if record.aliases:
                raise InvalidRequest(
                    f"{record.ref} is what the alias {' and '.join(record.aliases)} means; move or delete that first",
                    code="version_in_use",
                )
            if row.status != repository.DELETED:
                row.status, row.deleted_at = repository.DELETED, self.database.now(session)
                session.flush()
            return self._record(session, row)

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
        """Publish the checkpoint directory that a tar (or tar.gz) of at most `limit` unpacked bytes holds."""
        check_name(name)
        with publishing.scratch_folder(self.scratch) as directory:
            archive.unpack(stream, directory, limit)
            files, checkpoint = self.upload_files(directory), read(directory)
            metrics = of_directory(directory)
        with self.database.transaction() as session:
            return self.publish(
                session,
                name=name,
                owner=principal,
                files=files,
                checkpoint=checkpoint,
                metrics=metrics,
                alias=alias,
                expected_version=expected_version,
            )

    def export_tar(self, version: Version) -> archive.Export:
        """The checkpoint directory as a tar; the same bytes each time."""
        return archive.export(version.files, self.blobs)

    # --- upkeep -------------------------------------------------------------------------------------------------

    def collect_garbage(self, dry_run: bool = False) -> garbage.Collected:
        """Remove bytes that nothing refers to and that are older than the grace time; safe beside publishing."""
        return garbage.collect(self.database, self.blobs, self.grace_seconds, dry_run=dry_run)

    def fsck(self, *, deep: bool = True) -> garbage.Report:
        """Compare what the tables promise with what the store has; `deep` reads and hashes every byte."""
        return garbage.check(self.database, self.blobs, deep=deep)

    # --- parts --------------------------------------------------------------------------------------------------

    @contextmanager
    def _reading(self, session: Session | None) -> Iterator[Session]:
        with self.database.read() if session is None else nullcontext(session) as found:
            yield found

    def _record(self, session: Session, row: VersionRow) -> Version:
        return repository.record(row, repository.aliases(session, [row.model]))
