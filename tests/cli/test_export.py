"""`ostinato export`: a tar or a directory."""

from __future__ import annotations

import tarfile
from pathlib import Path

from tests.cli.conftest import ROUTE, Run
from tests.cli.service import Service, archive


def test_export_saves_a_tar_or_a_new_directory(registry: Service, ostinato: Run, tmp_path: Path) -> None:
    assert "saved reviews:4 as reviews-4.tar" in ostinato("export", "reviews:4").out
    with tarfile.open(tmp_path / "reviews-4.tar") as tar:
        assert tar.getnames() == ["config.json"]
    (tmp_path / "reviews-4.tar").write_text("precious")
    done = ostinato("export", "reviews:4")
    assert done.status == 1 and "reviews-4.tar already exists; replace it with --force" in done.err
    assert (tmp_path / "reviews-4.tar").read_text() == "precious"
    assert ostinato("export", "reviews:4", "--force").status == 0
    assert tarfile.is_tarfile(tmp_path / "reviews-4.tar")
    assert ostinato("export", "reviews:4", "-o", "folder").status == 0
    assert (tmp_path / "folder" / "config.json").read_text() == "{}"
    assert "already exists" in ostinato("export", "reviews:4", "-o", "folder").err


def test_an_export_cannot_write_outside_its_directory(registry: Service, ostinato: Run, tmp_path: Path) -> None:
    registry.routes[f"GET {ROUTE}/4/export"] = (200, archive(**{"../outside": "x"}))
    assert ostinato("export", "reviews:4", "-o", "folder").status == 1
    assert not (tmp_path / "outside").exists()


def test_a_failed_export_leaves_nothing(registry: Service, ostinato: Run, tmp_path: Path) -> None:
    del registry.routes[f"GET {ROUTE}/4/export"]
    assert ostinato("export", "reviews:4").status == 1
    assert list(tmp_path.iterdir()) == []
