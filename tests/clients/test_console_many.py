"""The console of a service with more versions than its lists show: every version can be reached."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import insert, select

from app.db.database import Database
from app.db.tables import FileRow, ModelRow, TableBase, VersionRow
from tests.clients.browser import PATIENCE, chromium, serious_problems, visit
from tests.serving import Api, Shelf

MANY = 110  # more than each list of versions or models has
expect.set_options(timeout=PATIENCE)
pytestmark = pytest.mark.long


def multiply(database: Database, name: str) -> None:
    """Add newer copies of a model with one version. The copies are named `name-0`, `name-1` and so on."""
    for table, column in ((ModelRow, "name"), (VersionRow, "model")):
        with database.transaction() as session:
            row = session.scalars(select(table).where(getattr(table, column) == name)).one()
            session.execute(insert(table), [_copy(table, row, column, f"{name}-{i}") for i in range(MANY)])


def prolong(database: Database, name: str) -> None:
    """Add newer versions to a model."""
    with database.transaction() as session:
        row = session.scalars(select(VersionRow).where(VersionRow.model == name)).one()
        versions = ({"version": row.version + i} for i in range(1, MANY))
        session.execute(insert(VersionRow), [_copy(VersionRow, row, "model", name) | changed for changed in versions])


def crowd(database: Database) -> None:
    """Add newer copies of the only file. The copies are named `copy-0.csv`, `copy-1.csv` and so on."""
    with database.transaction() as session:
        row = session.scalars(select(FileRow)).one()
        copies = ({"id": f"{row.id[:-4]}{i:04}", "filename": f"copy-{i}.csv"} for i in range(MANY))
        session.execute(
            insert(FileRow), [_copy(FileRow, row, "filename", row.filename) | changed for changed in copies]
        )


def _copy(table: type[TableBase], row: TableBase, column: str, name: str) -> dict[str, object]:
    values = {key.name: getattr(row, key.name) for key in table.__table__.columns if key.name != "id"}
    return values | {column: name, "created_at": values["created_at"] + 1}


@pytest.fixture
def page(api: Api, shelf: Shelf) -> Iterator[Page]:
    """The console of a service with so many models that no list of the console contains `oldest`."""
    shelf.classifier("oldest", alias="champion")
    shelf.classifier("m")
    multiply(shelf.database, "m")
    with chromium() as browser, visit(browser, api.url) as visitor:
        yield visitor.open()


def test_every_version_can_be_tried(page: Page, api: Api) -> None:
    model = page.get_by_label("Model", exact=True)
    for reference in ("oldest:1", "oldest@champion", "oldest"):
        page.goto(f"{api.url}/#/play?model={reference}")
        expect(model).to_have_value(reference)
    page.goto(f"{api.url}/#/play?model=oldest:2")
    expect(page.get_by_role("alert")).to_contain_text("oldest:2 does not exist")
    expect(model).to_have_value("")
    page.get_by_label("Texts", exact=True).fill("a text")
    page.get_by_role("button", name="Classify").click()
    expect(page.get_by_text("Choose a model first.")).to_be_visible()
    search = page.get_by_label("Find another version")
    search.press_sequentially("old")
    expect(page.locator("datalist option[value='oldest:1']")).to_have_count(1)
    search.fill("oldest:3")
    search.press("Enter")
    expect(page.get_by_text("There is no version oldest:3.")).to_be_visible()
    assert serious_problems(page) == []
    search.fill("oldest:1")
    search.press("Enter")
    expect(model).to_have_value("oldest:1")
    page.get_by_role("button", name="Classify").click()
    expect(page.locator(".bars li").first).to_be_visible()


def test_every_version_can_be_compared_and_trained_on(page: Page, api: Api) -> None:
    page.goto(f"{api.url}/#/compare?versions=m:1")
    search = page.get_by_label("Find another version")
    search.fill("oldest")
    search.press("Enter")
    expect(page.get_by_role("columnheader", name="oldest:1")).to_be_visible()
    api.services.estimates._running.acquire()  # the check of the data is refused as busy
    with api.client() as client:
        file = client.post("/v1/files", files={"file": ("a.csv", b"text,label\na,b\n")}, data={"purpose": "fine-tune"})
    crowd(api.services.database)
    page.goto(f"{api.url}/#/train")
    files = page.get_by_label("Or choose an uploaded file")
    expect(files.get_by_role("option")).to_have_count(1 + 100)
    page.get_by_role("button", name="Add older files").press("Enter")
    expect(files).to_be_focused()
    expect(files.get_by_role("option")).to_have_count(1 + 1 + MANY)
    page.keyboard.type("a.csv")  # chooses it by the beginning of its name
    expect(page.get_by_role("cell", name="a", exact=True)).to_be_visible()
    page.goto(f"{api.url}/#/train?file={file.json()['id']}&model=oldest:1")
    base = page.get_by_label("Architecture")
    expect(base).to_have_value("oldest:1")
    search = page.get_by_label("Find another model")
    search.fill("oldest")
    search.press("Enter")
    expect(base).to_have_value("oldest")


def test_every_version_of_a_model_can_be_promoted(page: Page, api: Api, shelf: Shelf) -> None:
    prolong(shelf.database, "oldest")
    shelf.registry.set_alias("oldest", "champion", MANY, "local")
    page.goto(f"{api.url}/#/models/oldest")
    expect(page.get_by_role("link", name=f"oldest:{MANY}", exact=True)).to_be_visible()
    first = page.get_by_role("link", name="oldest:1", exact=True)
    for _ in range(2):
        expect(first).to_have_count(0)
        page.get_by_role("button", name="Show more").click()
    expect(first).to_be_visible()
    search = page.get_by_label("Find another version")
    for reference, problem in (("m:1", "m:1 belongs to another model."), ("oldest:3", "")):
        search.fill(reference)
        search.press("Enter")
        expect(page.get_by_text("belongs to another model")).to_have_count(int(bool(problem)))
    expect(page.get_by_label("Points to")).to_have_value("3")
    expect(page.get_by_role("button", name="Roll back to version 1")).to_be_visible()
