"""`ostinato files`: the uploaded data sets. Knows the file routes."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from app.cli.output import Json, connect, fields, json_for_all, print_json, size, table, when
from app.errors import InvalidRequest

File = Annotated[str, typer.Argument(help="Id of a file: file-…")]

files = typer.Typer(help="See, upload and delete data sets.", invoke_without_command=True)


@files.callback()
def root(context: typer.Context, as_json: Json = False) -> None:
    if context.invoked_subcommand is None:
        list_files(as_json=as_json)
    elif as_json:
        json_for_all(context)


@files.command("list")
def list_files(as_json: Json = False) -> None:
    """List the files."""
    with connect() as client:
        found = list(client.pages("/v1/files"))
    if as_json:
        print_json(found)
        return
    rows = [(f["id"], f["filename"], size(f["bytes"]), f["purpose"], when(f["created_at"])) for f in found]
    table(["file", "name", "size", "purpose", "made"], rows, empty="no file yet")


@files.command("upload")
def upload(
    path: Path, purpose: Annotated[str, typer.Option(help="What it is for.")] = "fine-tune", as_json: Json = False
) -> None:
    """Store a file for later trainings."""
    with connect() as client:
        stored = client.upload(path, purpose)
    print_json(stored) if as_json else print(f"uploaded {path.name} as {stored['id']}")


@files.command("show")
def show(file_id: File, as_json: Json = False) -> None:
    """Show one file."""
    with connect() as client:
        stored = client.get(f"/v1/files/{file_id}")
    if as_json:
        print_json(stored)
        return
    fields([
        ("file", stored["id"]), ("name", stored["filename"]), ("size", size(stored["bytes"])),
        ("purpose", stored["purpose"]), ("status", stored["status"]), ("made", when(stored["created_at"])),
        ("expires", when(stored.get("expires_at"))), ("sha256", stored.get("sha256")),
    ])  # fmt: skip


@files.command("download")
def download(
    file_id: File,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="[default: print it]")] = None,
    as_json: Json = False,
) -> None:
    """Fetch a file's bytes (result files too)."""
    from app.cli.transfer import save

    if as_json and output is None:
        raise InvalidRequest("--json tells what was saved; name a file with --output, or leave --json out")
    with connect() as client:
        chunks = client.download(f"/v1/files/{file_id}/content")
        if output is None:
            _print(chunks)
            return
        count = save(chunks, output)
    if as_json:
        print_json({"id": file_id, "path": str(output), "bytes": count})
    else:
        print(f"saved {output} ({size(count)})")


def _print(chunks: Iterable[bytes]) -> None:
    for chunk in chunks:
        sys.stdout.buffer.write(chunk)
    sys.stdout.buffer.flush()


@files.command("delete")
def delete(file_id: File, as_json: Json = False) -> None:
    """Delete a file that no open job needs."""
    with connect() as client:
        reply = client.call("DELETE", f"/v1/files/{file_id}")
    print_json(reply) if as_json else print(f"{file_id} is deleted")
