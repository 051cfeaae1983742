"""The registry's routes: models, versions, import and export, aliases, files and search."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.settings import Settings
from tests.checkpoints import make_checkpoint, publish
from tests.fakes import FakeEngine
from tests.serving import Api, Shelf, byte_tokenizer, settings_in

ROOT = "/v1/registry/models"
VERSION_FIELDS = {
    "id", "object", "model", "version", "status", "task", "architecture", "digest", "files", "parameters", "metrics",
    "aliases", "owner", "created_at", "deleted_at", "job_id", "labels", "config",
}  # fmt: skip


@pytest.fixture
def api(settings: Settings) -> Iterator[Api]:
    with Api(settings) as running:
        yield running


@pytest.fixture
def http(api: Api) -> Iterator[httpx.Client]:
    with api.client() as client:
        yield client


def checkpoint(folder: Path, **options: Any) -> Path:
    make_checkpoint(folder, vocab_size=512, **options)
    byte_tokenizer().save(folder)
    return folder


def packed(folder: Path, mode: Any = "w") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as tar:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                tar.add(path, path.relative_to(folder).as_posix())
    return buffer.getvalue()


def upload(http: httpx.Client, name: str, content: bytes, **fields: str) -> httpx.Response:
    return http.post(f"{ROOT}/{name}/versions", data=fields, files={"file": ("x.tar", content, "application/x-tar")})


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_import_and_export(http: httpx.Client, tmp_path: Path, mode: str) -> None:
    folder = checkpoint(tmp_path / "mine", labels=("no", "yes"))
    (folder / "README.md").write_text("# Mine\n")
    imported = upload(http, "mine", packed(folder, mode), alias="champion")
    assert imported.status_code == 200, imported.text
    version = imported.json()
    assert set(version) == VERSION_FIELDS
    assert (version["id"], version["model"], version["version"], version["status"]) == ("mine:1", "mine", 1, "ready")
    assert (version["task"], version["architecture"], version["aliases"]) == ("classification", "lstm", ["champion"])
    assert version["labels"] == ["no", "yes"] and version["owner"] == "local"
    assert set(version["files"]["config.json"]) == {"sha256", "size"}
    assert http.get(f"{ROOT}/mine/versions/1").json() == version
    reply = http.get(f"{ROOT}/mine/versions/1/export")
    assert reply.headers["content-type"] == "application/x-tar"
    assert reply.headers["content-length"] == str(len(reply.content))
    with tarfile.open(fileobj=io.BytesIO(reply.content)) as tar:
        exported = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
    assert exported == {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    again = upload(http, "mine", reply.content).json()
    assert again["version"] == 2 and again["digest"] == version["digest"]


def test_invalid_imports(http: httpx.Client, tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "x")
    (folder / "model.pt").write_bytes(b"\x80\x04.")
    for content, status in ((packed(folder), 400), (b"no tar", 400), (b"", 400)):
        assert upload(http, "x", content).status_code == status
    (folder / "model.pt").unlink()
    good = packed(folder)
    assert upload(http, "No Name", good).status_code == 400
    assert upload(http, "x", good, expected_version="1").json()["error"]["param"] == "expected_version"
    assert upload(http, "x", good, alias="a", expected_version="one").status_code == 400
    assert upload(http, "x", good, allias="a").json()["error"]["code"] == "unknown_field"
    assert http.post(f"{ROOT}/x/versions", json={}).status_code == 415
    conflict = upload(http, "x", good, alias="a", expected_version="3")
    assert conflict.status_code == 409 and conflict.headers["x-should-retry"] == "false"
    assert http.get(f"{ROOT}/x").status_code == 404  # nothing was registered
    assert upload(http, "x", good, alias="a", expected_version="none").json()["version"] == 1


def test_models(http: httpx.Client, shelf: Shelf) -> None:
    assert http.get(ROOT).json() == {"object": "list", "data": [], "has_more": False}
    shelf.classifier("mood", alias="champion")
    shelf.classifier("mood")
    shelf.generator("echo")
    page = http.get(ROOT).json()
    assert [model["name"] for model in page["data"]] == ["echo", "mood"] and page["has_more"] is False
    mood = page["data"][1]
    assert set(mood) == {"id", "object", "name", "owner", "created_at", "versions", "latest", "aliases"}
    assert (mood["versions"], mood["latest"]["version"], mood["aliases"]) == (2, 2, {"champion": 1})
    assert http.get(f"{ROOT}/mood").json() == mood

    def names(**query: Any) -> list[str]:
        return [model["name"] for model in http.get(ROOT, params=query).json()["data"]]

    assert names(task="generation") == ["echo"] and names(task="classification", architecture="gru") == []
    assert names(search="oo") == ["mood"] and names(order="desc") == ["mood", "echo"]
    first = http.get(ROOT, params={"limit": 1}).json()
    assert first["has_more"] and names(limit=1, after=first["data"][0]["id"]) == ["mood"]
    filtered = http.get(ROOT, params={"limit": 1, "task": "generation"}).json()
    assert [m["name"] for m in filtered["data"]] == ["echo"] and not filtered["has_more"]
    assert http.get(f"{ROOT}/nobody").json()["error"]["code"] == "model_not_found"


def test_versions(http: httpx.Client, shelf: Shelf) -> None:
    for _ in range(3):
        shelf.classifier("mood")
    page = http.get(f"{ROOT}/mood/versions", params={"limit": 2}).json()
    assert [v["version"] for v in page["data"]] == [3, 2] and page["has_more"]
    for after in ("2", "mood:2"):
        rest = http.get(f"{ROOT}/mood/versions", params={"after": after}).json()
        assert [v["version"] for v in rest["data"]] == [1] and not rest["has_more"]
    assert http.get(f"{ROOT}/mood/versions", params={"after": "x"}).status_code == 400
    missing = http.get(f"{ROOT}/mood/versions/9")
    assert missing.status_code == 404 and missing.json()["error"]["code"] == "version_not_found"
    assert http.get(f"{ROOT}/mood/versions/x").status_code == 400
    assert http.get(f"{ROOT}/mood/versions/{10**30}").status_code in (400, 404)


def test_aliases(api: Api, http: httpx.Client, shelf: Shelf, engine: FakeEngine) -> None:
    api.wait_ready()
    for _ in range(2):
        shelf.classifier("mood")
    path = f"{ROOT}/mood/aliases/champion"
    created = http.put(path, json={"version": 1, "expected_version": None, "required": True})
    assert created.status_code == 200, created.text
    assert set(created.json()) == {"id", "object", "model", "alias", "version", "required", "abstention", "updated_at"}
    assert (created.json()["version"], created.json()["required"]) == (1, True)
    for expected in (None, 2):
        conflict = http.put(path, json={"version": 2, "expected_version": expected})
        assert conflict.status_code == 409 and conflict.json()["error"]["code"] == "alias_conflict"
        assert conflict.headers["x-should-retry"] == "false"
    moved = http.put(path, json={"version": 2, "expected_version": 1}).json()
    assert (moved["version"], moved["required"]) == (2, True)
    assert http.put(path, json={"version": 1, "required": False}).json()["required"] is False
    assert http.put(path, json={"version": 7}).status_code == 404
    assert http.put(path, json={"version": 1, "expect": 1}).json()["error"]["code"] == "unknown_field"
    assert http.put(path, json={}).json()["error"]["param"] == "version"
    assert http.put(f"{ROOT}/mood/aliases/Bad Name", json={"version": 1}).status_code == 400
    assert http.delete(path, params={"expected_version": 2}).status_code == 409
    assert http.delete(path).json() == {"id": "mood@champion", "object": "model.alias", "deleted": True}
    assert http.delete(path).status_code == 404
    history = http.get(f"{path}/history").json()
    moves = [(m["from_version"], m["to_version"]) for m in history["data"]]
    assert moves == [(1, None), (2, 1), (1, 2), (None, 1)] and history["has_more"] is False
    page = http.get(f"{path}/history", params={"limit": 3}).json()
    assert page["has_more"]
    rest = http.get(f"{path}/history", params={"after": page["data"][-1]["id"]}).json()
    assert [m["to_version"] for m in rest["data"]] == [1]


def test_deleting_a_version(http: httpx.Client, shelf: Shelf) -> None:
    shelf.classifier("mood", alias="champion")
    shelf.classifier("mood")
    used = http.delete(f"{ROOT}/mood/versions/1")
    assert used.status_code == 400 and used.json()["error"]["code"] == "version_in_use"
    assert http.delete(f"{ROOT}/mood/versions/2").json() == {
        "id": "mood:2", "object": "model.version", "deleted": True,
    }  # fmt: skip
    assert http.get(f"{ROOT}/mood/versions/2").json()["status"] == "deleted"
    assert [v["version"] for v in http.get(f"{ROOT}/mood/versions").json()["data"]] == [1]
    assert http.get(f"{ROOT}/mood/versions/2/export").json()["error"]["code"] == "version_not_ready"
    assert http.get(f"{ROOT}/mood/versions/2/files/config.json").status_code == 404


def test_files_of_a_version(http: httpx.Client, shelf: Shelf, tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "x")
    (folder / "plots").mkdir()
    (folder / "plots" / "loss.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'><script>1</script></svg>")
    (folder / "plots" / "loss.png").write_bytes(b"\x89PNG")
    (folder / "metrics.json").write_text("{}")
    publish(shelf.registry, folder, "mine", "local")
    for path, media in (
        ("plots/loss.svg", "image/svg+xml"),
        ("plots/loss.png", "image/png"),
        ("metrics.json", "application/json"),
        ("model.safetensors", "application/octet-stream"),
    ):
        reply = http.get(f"{ROOT}/mine/versions/1/files/{path}")
        assert reply.status_code == 200 and reply.content == (folder / path).read_bytes()
        assert reply.headers["content-type"] == media
        assert "sandbox" in reply.headers["content-security-policy"]
        tagged = http.get(f"{ROOT}/mine/versions/1/files/{path}", headers={"if-none-match": reply.headers["etag"]})
        assert tagged.status_code == 304
    for path in ("../config.json", "..%2fconfig.json", "plots", "nothing", "/etc/passwd", "plots/..%2f..%2fx", "%00"):
        reply = http.get(f"{ROOT}/mine/versions/1/files/{path}")
        assert reply.status_code == 404 and "error" in reply.json()


def test_search_and_compare(http: httpx.Client, shelf: Shelf, tmp_path: Path) -> None:
    for i, accuracy in enumerate((0.5, 0.9, 0.7)):
        folder = checkpoint(tmp_path / str(i), seed=i)
        publish(shelf.registry, folder, "mine", "local", metrics={"test": {"accuracy": accuracy, "loss": accuracy}})
    shelf.classifier("other")

    def search(**query: Any) -> list[str]:
        reply = http.get("/v1/registry/versions", params=query)
        assert reply.status_code == 200, reply.text
        return [version["id"] for version in reply.json()["data"]]

    assert search(metric="test.accuracy") == ["mine:2", "mine:3", "mine:1"]
    assert search(metric="test.loss", limit=1) == ["mine:1"]
    assert search(metric="test.accuracy", minimum=0.6, after="mine:2") == ["mine:3"]
    assert set(search(query="mi")) == {"mine:1", "mine:2", "mine:3"} and "other:1" in search(task="classification")
    assert http.get("/v1/registry/versions", params={"metric": "a b"}).json()["error"]["param"] == "metric"
    comparison = http.get("/v1/registry/compare", params={"versions": "mine:1,mine:2"}).json()
    assert [v["id"] for v in comparison["versions"]] == ["mine:1", "mine:2"]
    assert comparison["figures"]["test.accuracy"] == [0.5, 0.9] and comparison["best"] == {
        "test.accuracy": 1,
        "test.loss": 0,
    }
    assert http.get("/v1/registry/compare", params={"versions": ""}).status_code == 400
    assert http.get("/v1/registry/compare", params={"versions": "mine:1,mine:9"}).status_code == 404


def test_owners(data_dir: Path, tmp_path: Path) -> None:
    keys = "alice:secret-of-alice,bob:secret-of-bob"
    content = packed(checkpoint(tmp_path / "x"))
    with (
        Api(settings_in(data_dir, api_keys=keys)) as api,
        api.client("secret-of-alice") as alice,
        api.client("secret-of-bob") as bob,
    ):
        assert upload(alice, "mine", content).json()["owner"] == "alice"
        assert bob.get(ROOT).json()["data"] == [] and len(alice.get(ROOT).json()["data"]) == 1
        for method, path, body in (
            ("GET", "", None), ("GET", "/versions", None), ("GET", "/versions/1", None),
            ("GET", "/versions/1/export", None), ("GET", "/versions/1/files/config.json", None),
            ("DELETE", "/versions/1", None), ("PUT", "/aliases/a", {"version": 1}),
            ("GET", "/aliases/a/history", None), ("DELETE", "/aliases/a", None),
        ):  # fmt: skip
            reply = bob.request(method, f"{ROOT}/mine{path}", json=body)
            assert reply.status_code == 404, (method, path, reply.text)
        assert bob.get("/v1/registry/versions").json()["data"] == []
        assert bob.get("/v1/registry/compare", params={"versions": "mine:1"}).status_code == 404
        assert upload(bob, "mine", content).json()["error"]["code"] == "model_name_taken"


def test_every_route_is_documented(http: httpx.Client) -> None:
    document = http.get("/openapi.json").json()
    operations = {
        (method.upper(), path): operation
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        if path.startswith(("/v1/files", "/v1/uploads", "/v1/fine_tuning", "/v1/registry"))
    }
    assert len(operations) >= 30
    names = [operation["operationId"] for operation in operations.values()]
    assert len(set(names)) == len(names)
    for (method, path), operation in operations.items():
        assert operation["summary"], path
        assert {"400", "401", "500"} <= set(operation["responses"]), path
        if reply := operation["responses"]["200"]["content"].get("application/json"):
            schemas = reply["schema"].get("oneOf", [reply["schema"]])
            examples = (
                [named["value"] for named in reply["examples"].values()] if "examples" in reply else [reply["example"]]
            )
            for schema, example in zip(schemas, examples, strict=True):
                properties = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]["properties"]
                assert set(example) <= set(properties), path
        if method in ("POST", "PUT") and not path.endswith(("cancel", "pause", "resume")):
            [content] = operation["requestBody"]["content"].values()
            assert content.get("examples") or content.get("example"), path
    json.dumps(document)
