"""`ostinato files`: list, upload, show, download and delete files."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from app.cli.output import Json, connect, fields, json_for_all, print_json, size, table, when
from app.errors import InvalidRequest

FileId = Annotated[str, typer.Argument(help="Id of a file: file-…")]

files = typer.Typer(
    help="List, upload, download and delete data sets and result files. Without a command, lists the files.",
    invoke_without_command=True,
)


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
        listed = list(client.pages("/v1/files"))
    if as_json:
        print_json(listed)
        return
    rows = [(f["id"], f["filename"], size(f["bytes"]), f["purpose"], when(f["created_at"])) for f in listed]
    table(["file", "name", "size", "purpose", "created"], rows, empty="no files yet")


@files.command("upload")
def upload(
    path: Annotated[Path, typer.Argument(help="The file to upload.")],
    purpose: Annotated[str, typer.Option(help="fine-tune for data, batch for files of requests.")] = "fine-tune",
    as_json: Json = False,
) -> None:
    """Upload a file for later training jobs, evaluations or batches, which refer to the file by its id."""
    with connect() as client:
        stored = client.upload(path, purpose)
    print_json(stored) if as_json else print(f"uploaded {path.name} as {stored['id']}")


@files.command("show")
def show(file_id: FileId, as_json: Json = False) -> None:
    """Show one file."""
    with connect() as client:
        stored = client.get(f"/v1/files/{file_id}")
    if as_json:
        print_json(stored)
        return
    fields([
        ("file", stored["id"]), ("name", stored["filename"]), ("size", size(stored["bytes"])),
        ("purpose", stored["purpose"]), ("status", stored["status"]), ("created", when(stored["created_at"])),
        ("expires", when(stored.get("expires_at"))), ("sha256", stored.get("sha256")),
    ])  # fmt: skip


@files.command("download")
def download(
    file_id: FileId,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Where to save the file; - is standard output.", show_default="standard output"
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Download a file, or a job's result file."""
    from app.cli.export import save

    if output == Path("-"):
        output = None
    if as_json and output is None:
        raise InvalidRequest("--json describes the saved file, so it requires --output with the name of a file")
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
def delete(file_id: FileId, as_json: Json = False) -> None:
    """Delete a file. Fails if an unfinished job needs the file."""
    with connect() as client:
        reply = client.call("DELETE", f"/v1/files/{file_id}")
    print_json(reply) if as_json else print(f"{file_id} is deleted")
