"""`ostinato models`: list, show, search, compare, alias and delete versions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli import aliases, comparison
from app.cli.output import Json, aliases_of, connect, fields, headline, json_for_all, print_json, size, table, when
from app.cli.references import CHAMPION, ROOT, Name, Reference, locate
from app.cli.shapes import shape_of
from app.errors import OstinatoError
from app.wording import listed, quantity
from models.choices import ARCHITECTURES

if TYPE_CHECKING:
    from app.client import Client

MOST_NAMED = 10  # maximum number of remaining versions that `delete` names

models = typer.Typer(
    help="List, compare, alias and delete models and their versions. Without a command, lists the models.",
    invoke_without_command=True,
)


@models.callback()
def root(context: typer.Context, as_json: Json = False) -> None:
    if context.invoked_subcommand is None:
        list_models(as_json=as_json)
    elif as_json:
        json_for_all(context)


@models.command("list")
def list_models(
    search: Annotated[str | None, typer.Option(help="Only models whose name contains this text.")] = None,
    task: Annotated[str | None, typer.Option(help="Only models for this task.")] = None,
    architecture: Annotated[str | None, typer.Option(help=f"Only this architecture: {listed(ARCHITECTURES)}.")] = None,
    as_json: Json = False,
) -> None:
    """List the models with their newest versions. Also shows the quality of the version to which each name refers."""
    with connect() as client:
        listed = list(client.pages(ROOT, limit=1000, search=search, task=task, architecture=architecture))
        quality = {} if as_json else {model["name"]: _quality(client, model) for model in listed}
    if as_json:
        print_json(listed)
        return
    rows = []
    for model in listed:
        if not (latest := model["latest"]):  # all versions are deleted; the service keeps the name for its owner
            continue
        rows.append((
            model["name"], latest.get("version"), latest.get("task"), latest.get("architecture"), aliases_of(model),
            quality[model["name"]],
        ))  # fmt: skip
    columns = ["name", "newest", "task", "architecture", "aliases", "quality"]
    empty = "no models yet; train one with: ostinato train FILE"
    table(columns, rows, empty="no model matches" if search or task or architecture else empty)


def _quality(client: Client, model: dict[str, Any]) -> str:
    """The newest version's main metric. If the name resolves to another version, that version's metric comes first."""
    latest = model["latest"] or {}
    newest, answering = headline(latest.get("metrics")), model["aliases"].get(CHAMPION)
    if answering in (None, latest.get("version")):
        return newest
    own = headline(client.get(f"{ROOT}/{model['name']}/versions/{answering}").get("metrics"))
    both = ((f"version {answering}", own), (f"newest, {latest.get('version')}", newest))
    return "; ".join(f"{version}: {text}" for version, text in both if text)


@models.command("versions")
def list_versions(name: Name, as_json: Json = False) -> None:
    """List a model's versions."""
    with connect() as client:
        versions = list(client.pages(f"{ROOT}/{name}/versions", limit=1000))
    if as_json:
        print_json(versions)
        return
    rows = [
        (v["version"], v["status"], v["task"], v["architecture"], aliases_of(v), headline(v.get("metrics")),
         when(v["created_at"]))
        for v in versions
    ]  # fmt: skip
    table(["version", "status", "task", "architecture", "aliases", "quality", "created"], rows)


@models.command("show")
def show(reference: Reference, as_json: Json = False) -> None:
    """Show one version: its dimensions, metrics and files."""
    with connect() as client:
        name, number = locate(client, reference)
        version = dict(client.get(f"{ROOT}/{name}/versions/{number}"))
        evaluations = [] if as_json else client.get(f"{ROOT}/{name}/versions/{number}/evaluations")["data"]
    if as_json:
        print_json(version)
        return
    files = version.get("files") or {}
    fields([
        ("model", f"{version.get('model') or version.get('name')}:{version['version']}"), ("status", version["status"]),
        ("task", version["task"]), ("architecture", version["architecture"]),
        ("shape", shape_of(version.get("config") or {})),
        ("labels", ", ".join(version.get("labels") or [])),
        ("parameters", f"{version['parameters']:,}"), ("quality", headline(version.get("metrics"))),
        ("baseline", ((version.get("metrics") or {}).get("baseline") or {}).get("summary")),
        ("aliases", aliases_of(version)), ("job", version.get("job_id")), ("owner", version.get("owner")),
        *(("evaluation", _evidence(evaluation)) for evaluation in evaluations),
        ("created", when(version["created_at"])), ("digest", f"sha256:{version['digest']}"),
        *((f"  {path}", size(entry["size"])) for path, entry in sorted(files.items())),
    ])  # fmt: skip


def _evidence(evaluation: dict[str, Any]) -> str:
    """Format an evaluation of a version as one line."""
    metrics = evaluation["report"]["metrics"]
    return f"{evaluation['id']} on {evaluation['file']}: {headline({'test': metrics}).removeprefix('test ')}"


aliases.register(models)
comparison.register(models)


@models.command("delete")
def delete(
    reference: Reference,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
    as_json: Json = False,
) -> None:
    """Delete one version. Its files remain in storage for a grace period, one day by default.

    A bare name means the version that the name refers to. When the last version is deleted, the model is gone too.
    """
    with connect() as client:
        name, number = locate(client, reference)
        if not yes:
            typer.confirm(f"delete {name}:{number}?", abort=True)
        reply = client.call("DELETE", f"{ROOT}/{name}/versions/{number}")
        left = [] if as_json else _versions_of(client, name)
    if as_json:
        print_json(reply)
        return
    print(f"{name}:{number} is deleted")
    if left:
        print(_rest(name, left))


def _rest(name: str, left: Sequence[str]) -> str:
    """Describe the versions that remain after one was deleted."""
    remaining = f"{quantity(len(left), 'version')} of {name} {'remains' if len(left) == 1 else 'remain'}"
    return f"{remaining}: {listed(left[:MOST_NAMED], 'and')}; the model is deleted with its last version"


def _versions_of(client: Client, name: str) -> list[str]:
    """Return references to the versions of a model. Empty if they cannot be listed."""
    try:
        return [f"{name}:{v['version']}" for v in client.pages(f"{ROOT}/{name}/versions", limit=1000)]
    except OstinatoError:
        return []
