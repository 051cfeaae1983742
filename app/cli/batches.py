"""`ostinato batches`: list, create, show and cancel batches of requests."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli.output import Json, connect, fields, json_for_all, print_json, table, when
from app.wire.batch import ENDPOINTS, WINDOW
from app.wording import listed

ROOT = "/v1/batches"
BatchId = Annotated[str, typer.Argument(help="Id of a batch: batch-…")]

batches = typer.Typer(help="Answer files of requests in the background.", invoke_without_command=True)


@batches.callback()
def root(context: typer.Context, as_json: Json = False) -> None:
    if context.invoked_subcommand is None:
        list_batches(as_json=as_json)
    elif as_json:
        json_for_all(context)


@batches.command("list")
def list_batches(
    limit: Annotated[int, typer.Option("--limit", min=1, help="Maximum number of batches, newest first.")] = 20,
    as_json: Json = False,
) -> None:
    """List the batches, newest first."""
    with connect() as client:
        newest = list(itertools.islice(client.pages(ROOT, limit=min(limit, 100)), limit))
    if as_json:
        print_json(newest)
        return
    rows = [(b["id"], b["status"], _counts(b), b["endpoint"], when(b["created_at"])) for b in newest]
    table(["batch", "status", "answered", "endpoint", "created"], rows, empty="no batches yet")


@batches.command("create")
def create(
    path: Annotated[Path, typer.Argument(help="JSON Lines with custom_id, method, url and body on each line.")],
    endpoint: Annotated[str, typer.Option(help=f"The route that answers the requests: {listed(ENDPOINTS)}.")],
    as_json: Json = False,
) -> None:
    """Upload a file of requests and queue it as a batch."""
    with connect() as client:
        stored = client.upload(path, "batch")
        body = {"input_file_id": stored["id"], "endpoint": endpoint, "completion_window": WINDOW}
        batch = client.post(ROOT, body)
    print_json(batch) if as_json else print(f"created {batch['id']}")


@batches.command("show")
def show(batch_id: BatchId, as_json: Json = False) -> None:
    """Show one batch, with the ids of its result files."""
    with connect() as client:
        batch = client.get(f"{ROOT}/{batch_id}")
    if as_json:
        print_json(batch)
        return
    errors = (batch["errors"] or {}).get("data") or []
    fields([
        ("batch", batch["id"]), ("status", batch["status"]), ("answered", _counts(batch)),
        ("endpoint", batch["endpoint"]), ("input", batch["input_file_id"]), ("output", batch["output_file_id"]),
        ("errors", batch["error_file_id"]), ("created", when(batch["created_at"])),
        ("expires", when(batch["expires_at"])), *(("error", _error(error)) for error in errors),
    ])  # fmt: skip


@batches.command("cancel")
def cancel(batch_id: BatchId, as_json: Json = False) -> None:
    """Cancel a batch. The answers so far are stored."""
    with connect() as client:
        batch = client.post(f"{ROOT}/{batch_id}/cancel")
    print_json(batch) if as_json else print(f"{batch['id']} is {batch['status']}")


def _counts(batch: dict[str, Any]) -> str:
    """The numbers of answered requests, of all requests and, if there are any, of errors."""
    counts = batch["request_counts"]
    failed = f", {counts['failed']} failed" if counts["failed"] else ""
    return f"{counts['completed'] + counts['failed']} of {counts['total']}{failed}" if counts["total"] else ""


def _error(error: dict[str, Any]) -> str:
    where = f"line {error['line']}: " if error["line"] is not None else ""
    return f"{where}{error['message']}"
