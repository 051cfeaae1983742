"""`ostinato models`: list, show, compare, name and delete versions. Knows the registry's routes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.output import Json, connect, fields, headline, json_for_all, print_json, size, table, when
from app.errors import InvalidRequest

if TYPE_CHECKING:
    from app.client import Client

ROOT = "/v1/registry/models"
Reference = Annotated[str, typer.Argument(help="name, name:3 or name@alias.")]
Name = Annotated[str, typer.Argument(help="Name of a model.")]

models = typer.Typer(help="Look at and name what has been trained.", invoke_without_command=True)


@models.callback()
def root(context: typer.Context, as_json: Json = False) -> None:
    if context.invoked_subcommand is None:
        list_models(as_json=as_json)
    elif as_json:
        json_for_all(context)


@models.command("list")
def list_models(
    search: Annotated[str | None, typer.Option(help="Only models whose name has this in it.")] = None,
    task: Annotated[str | None, typer.Option(help="Only models of this task.")] = None,
    architecture: Annotated[str | None, typer.Option(help="Only rnn, lstm, gru or transformer.")] = None,
    as_json: Json = False,
) -> None:
    """List the models, each with its newest version."""
    with connect() as client:
        found = list(client.pages(ROOT, limit=1000, search=search, task=task, architecture=architecture))
    if as_json:
        print_json(found)
        return
    rows = []
    for model in found:
        latest = model["latest"] or {}  # none of its versions may be ready
        rows.append((
            model["name"], latest.get("version"), latest.get("task"), latest.get("architecture"), aliases(model),
            headline(latest.get("metrics")),
        ))  # fmt: skip
    columns = ["name", "newest", "task", "architecture", "aliases", "quality"]
    table(columns, rows, empty="no model yet; train one with: ostinato train FILE")


def aliases(thing: dict[str, Any]) -> str:
    """Of a model, with where they point; of a version, by name."""
    found = thing["aliases"]
    if isinstance(found, dict):
        return " ".join(f"@{name}:{version}" for name, version in found.items())
    return " ".join(f"@{name}" for name in found)


@models.command("versions")
def list_versions(name: Name, as_json: Json = False) -> None:
    """List a model's versions."""
    with connect() as client:
        found = list(client.pages(f"{ROOT}/{name}/versions", limit=1000))
    if as_json:
        print_json(found)
        return
    rows = [
        (v["version"], v["status"], v["task"], v["architecture"], aliases(v), headline(v.get("metrics")),
         when(v["created_at"]))
        for v in found
    ]  # fmt: skip
    table(["version", "status", "task", "architecture", "aliases", "quality", "made"], rows)


@models.command("show")
def show(reference: Reference, as_json: Json = False) -> None:
    """Show one version: its files, figures and shape."""
    with connect() as client:
        version = resolve(client, reference)
    if as_json:
        print_json(version)
        return
    shape = version.get("config") or {}
    files = version.get("files") or {}
    fields([
        ("model", f"{version.get('model') or version.get('name')}:{version['version']}"), ("status", version["status"]),
        ("task", version["task"]), ("architecture", version["architecture"]),
        ("shape", ", ".join(f"{key} {shape[key]}" for key in ("layers", "width", "vocab_size") if shape.get(key))),
        ("labels", ", ".join(version.get("labels") or [])),
        ("parameters", f"{version['parameters']:,}"), ("quality", headline(version.get("metrics"))),
        ("aliases", aliases(version)), ("job", version.get("job_id")), ("owner", version.get("owner")),
        ("made", when(version["created_at"])), ("digest", f"sha256:{version['digest']}"),
        *((f"  {path}", size(entry["size"])) for path, entry in sorted(files.items())),
    ])  # fmt: skip


def resolve(client: Client, reference: str) -> dict[str, Any]:
    """The version that a reference means now."""
    name, number = client_reference(client, reference)
    return dict(client.get(f"{ROOT}/{name}/versions/{number}"))


def client_reference(client: Client, reference: str) -> tuple[str, int]:
    """(name, version number): `name:3` says it, an alias or a bare name is looked up."""
    name, _, number = reference.partition(":")
    if number.isdigit():
        return name, int(number)
    model = client.get(f"/v1/models/{reference}")
    if not model.get("version"):
        raise InvalidRequest(f"{reference} is no registered version")
    return str(model.get("name") or str(model["id"]).partition(":")[0].partition("@")[0]), int(model["version"])


@models.command("alias")
def set_alias(
    name: Name,
    alias: Annotated[str, typer.Argument(help="champion is the one that a bare name means.")],
    version: Annotated[int, typer.Argument(min=1)],
    expected: Annotated[
        str | None, typer.Option(help="Move it only if it points at this version now; `none`: only if it is new.")
    ] = None,
    required: Annotated[
        bool | None,
        typer.Option(help="Whether the service is ready only with it loaded. [default: as it was; of a new one: no]"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Point an alias at a version."""
    body: dict[str, Any] = {"version": version} | ({} if required is None else {"required": required})
    if expected is not None:
        if expected != "none" and not expected.isdigit():
            raise InvalidRequest(f"--expected {expected}: give a version number, or none")
        body["expected_version"] = None if expected == "none" else int(expected)
    with connect() as client:
        reply = client.call("PUT", f"{ROOT}/{name}/aliases/{alias}", json=body)
    print_json(reply) if as_json else print(f"{name}@{alias} is {name}:{version}")


@models.command("unalias")
def delete_alias(name: Name, alias: Annotated[str, typer.Argument()], as_json: Json = False) -> None:
    """Remove an alias."""
    with connect() as client:
        reply = client.call("DELETE", f"{ROOT}/{name}/aliases/{alias}")
    print_json(reply) if as_json else print(f"{name}@{alias} is gone")


@models.command("history")
def alias_history(name: Name, alias: Annotated[str, typer.Argument()], as_json: Json = False) -> None:
    """Tell where an alias has pointed."""
    with connect() as client:
        moves = list(client.pages(f"{ROOT}/{name}/aliases/{alias}/history", limit=1000))
    if as_json:
        print_json(moves)
        return
    rows = [(when(m["created_at"]), m["from_version"] or "-", m["to_version"] or "-", m["principal"]) for m in moves]
    table(["when", "from", "to", "who"], rows)


@models.command("search")
def search(
    name: Annotated[str | None, typer.Argument(help="A part of model names. [default: all]")] = None,
    task: Annotated[str | None, typer.Option(help="Only versions for this task.")] = None,
    architecture: Annotated[str | None, typer.Option(help="rnn, lstm, gru or transformer.")] = None,
    alias: Annotated[str | None, typer.Option(help="Only versions that such an alias points at.")] = None,
    job: Annotated[str | None, typer.Option(help="Only the version that this job has made.")] = None,
    metric: Annotated[
        str | None, typer.Option(help="Only those with this figure, the best first: test.macro_f1")
    ] = None,
    minimum: Annotated[float | None, typer.Option(help="Least value of the figure.")] = None,
    maximum: Annotated[float | None, typer.Option(help="Greatest value of the figure.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many.")] = 20,
    as_json: Json = False,
) -> None:
    """Find versions of all models, by what they are and how good they are; the newest first."""
    wanted = {"query": name, "task": task, "architecture": architecture, "alias": alias, "job_id": job}
    figures = {"metric": metric, "minimum": minimum, "maximum": maximum}
    with connect() as client:
        pages = client.pages("/v1/registry/versions", limit=min(limit, 1000), **wanted, **figures)
        found = list(itertools.islice(pages, limit))
    if as_json:
        print_json(found)
        return
    rows = [
        (v["id"], v["task"], v["architecture"], aliases(v), _quality(v, metric), when(v["created_at"])) for v in found
    ]
    columns = ["version", "task", "architecture", "aliases", metric or "quality", "made"]
    table(columns, rows, empty="no version is like that")


def _quality(version: dict[str, Any], metric: str | None) -> Any:
    metrics = version.get("metrics") or {}
    return _figure(flat(metrics).get(metric)) if metric else headline(metrics)


@models.command("compare")
def compare(
    references: Annotated[list[str], typer.Argument(help="Two or more of name, name:3 or name@alias.")],
    as_json: Json = False,
) -> None:
    """Set versions side by side: what differs between them; the best of each figure has a *."""
    if len(references) < 2:
        raise InvalidRequest("name two versions or more")
    with connect() as client:
        comparison = client.get("/v1/registry/compare", versions=",".join(references))
    if as_json:
        print_json(comparison)
        return
    table(["", *references], [*differences(comparison["versions"]), *figures(comparison)], empty="they are equal")


def differences(versions: Sequence[dict[str, Any]]) -> Iterator[list[Any]]:
    """A row for each field that is not the same in all versions: its name, and its value in each."""
    shapes = [flat({name: version.get(name) for name in COMPARED}) for version in versions]
    for name in dict.fromkeys(name for shape in shapes for name in shape):
        values = [shape.get(name) for shape in shapes]
        if any(value != values[0] for value in values):
            yield [name, *map(_figure, values)]


def figures(comparison: dict[str, Any]) -> Iterator[list[Any]]:
    """The same for the figures of a comparison, the best marked."""
    for name, values in comparison["figures"].items():
        if any(value != values[0] for value in values):
            best = comparison["best"].get(name)
            yield [name, *(f"{_figure(v)}{' *' if i == best else ''}" for i, v in enumerate(map(_shown, values)))]


COMPARED = ("task", "architecture", "parameters", "config", "digest")


def flat(value: Any, path: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} as {"a.b": 1}; lists are left out, but for short lists of names."""
    if isinstance(value, dict):
        found: dict[str, Any] = {}
        for key, inner in value.items():
            found |= flat(inner, f"{path}.{key}" if path else str(key))
        return found
    if isinstance(value, list):
        return {path: ", ".join(value)} if value and all(isinstance(v, str) for v in value) else {}
    return {path: value}


def _shown(value: Any) -> Any:
    return "-" if value is None else value


def _figure(value: Any) -> Any:
    return f"{value:.4g}" if isinstance(value, float) else value


@models.command("delete")
def delete(
    reference: Reference,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Delete a version. Its bytes are kept for a day of grace."""
    with connect() as client:
        name, number = client_reference(client, reference)
        if not yes:
            typer.confirm(f"delete {name}:{number}?", abort=True)
        reply = client.call("DELETE", f"{ROOT}/{name}/versions/{number}")
    print_json(reply) if as_json else print(f"{name}:{number} is deleted")
