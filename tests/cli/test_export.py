"""`ostinato export`: exports as a tar archive, as a directory, or in the format of another program."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from tests.cli.conftest import ROUTE, Run
from tests.cli.service import Service, archive
from tests.importing.huggingface.directories import bring, copied


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


@pytest.fixture
def encoder(registry: Service, tmp_path_factory: pytest.TempPathFactory) -> Service:
    """The service, with an imported encoder as version 5."""
    folder, content = tmp_path_factory.mktemp("encoder"), io.BytesIO()
    bring(copied("minilm", folder), folder / "version")
    with tarfile.open(fileobj=content, mode="w") as tar:
        for path in sorted((folder / "version").iterdir()):
            tar.add(path, path.name)
    registry.routes[f"GET {ROUTE}/5/export"] = (200, content.getvalue())
    return registry


def test_export_converts_to_the_formats_of_other_programs(encoder: Service, ostinato: Run, tmp_path: Path) -> None:
    done = ostinato("export", "reviews:5", "elsewhere", "--format", "huggingface")
    assert "saved reviews:5 as elsewhere (BertModel, " in done.out
    assert (tmp_path / "elsewhere" / "modules.json").is_file()
    done = ostinato("export", "reviews:5", "--format", "onnx")
    assert "saved reviews:5 as reviews-5-onnx (embedding, " in done.out
    assert (tmp_path / "reviews-5-onnx" / "model.onnx").is_file()
    again = ostinato("export", "reviews:5", "--format", "onnx")
    assert again.status == 1 and "reviews-5-onnx already exists" in again.err
    twice = ostinato("export", "reviews:5", "one", "--output", "two")
    assert twice.status == 1 and "the target is given twice" in twice.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["elsewhere", "reviews-5-onnx"]


def test_a_version_that_is_refused_leaves_nothing(registry: Service, ostinato: Run, tmp_path: Path) -> None:
    done = ostinato("export", "reviews:4", "elsewhere", "--format", "onnx")
    assert done.status == 1 and "model.safetensors is missing" in done.err
    assert list(tmp_path.iterdir()) == []
