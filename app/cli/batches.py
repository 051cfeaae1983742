"""`ostinato batches`: list, create, show and cancel batches of requests."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli.data import as_regular_files
from app.cli.output import MOST_LISTED, Json, connect, fields, json_for_all, print_json, table, warn, when
from app.cli.wording import in_own_words
from app.errors import InvalidRequest, did_you_mean
from app.runs import batch_input
from app.runs.batch_input import CheckedInput, LineError
from app.wire.batch import ENDPOINTS, MOST_BYTES, WINDOW
from app.wording import listed

ROOT = "/v1/batches"
ENDED = ("completed", "failed", "expired", "cancelled")  # the statuses of batches whose files are complete
BatchId = Annotated[str, typer.Argument(help="Id of a batch: batch-…")]

batches = typer.Typer(
    help="Answer files of requests in the background. Without a command, lists the batches.",
    invoke_without_command=True,
)


@batches.callback()
def root(context: typer.Context, as_json: Json = False) -> None:
    if context.invoked_subcommand is None:
        list_batches(as_json=as_json)
    elif as_json:
        json_for_all(context)


@batches.command("list")
def list_batches(
    limit: Annotated[
        int, typer.Option("--limit", min=1, max=MOST_LISTED, help="Maximum number of batches; the newest are listed.")
    ] = 20,
    as_json: Json = False,
) -> None:
    """List the batches, newest first."""
    with connect() as client:
        newest = list(itertools.islice(client.pages(ROOT, limit=min(limit, 100)), limit))
    if as_json:
        print_json(newest)
        return
    rows = [(b["id"], b["status"], _counts(b), b["endpoint"], when(b["created_at"])) for b in newest]
    table(
        ["batch", "status", "answered", "endpoint", "created"],
        rows,
        empty="no batches yet; create one with: ostinato batches create FILE --endpoint URL",
    )


@batches.command("create")
def create(
    file: Annotated[Path, typer.Argument(help="A JSON Lines file: custom_id, method, url and body on each line.")],
    endpoint: Annotated[
        str, typer.Option(help=f"The url of the requests, which is the same on each line: {listed(ENDPOINTS)}.")
    ],
    as_json: Json = False,
) -> None:
    """Check and upload a file of requests, and queue it as a batch.

    Example of a line: {"custom_id": "first", "method": "POST", "url": "/v1/classify", "body": {"model": "mood",
    "input": "a good day"}}
    """
    if endpoint not in ENDPOINTS:
        hint = did_you_mean(endpoint, ENDPOINTS)
        raise InvalidRequest(f"--endpoint {endpoint}: must be {listed(ENDPOINTS)}{hint}")
    with as_regular_files({"file": file}) as paths:
        _check(paths["file"], endpoint)
        with connect() as client:
            stored = client.upload(paths["file"], "batch")
            body = {"input_file_id": stored["id"], "endpoint": endpoint, "completion_window": WINDOW}
            batch = client.post(ROOT, body)
    if as_json:
        print_json(batch)
    else:
        print(f"created {batch['id']}; see its progress with: ostinato batches show {batch['id']}")


def _check(path: Path, endpoint: str) -> None:
    """Run the service's checks on all lines of a file. If several lines are faulty, prints one fault per line.

    Raises InvalidRequest if the file cannot be used.
    """
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise InvalidRequest(f"{path.name} has {size:,} bytes, but a batch can have at most {MOST_BYTES:,}")
    checked = batch_input.check(path, endpoint)
    if not checked.errors:
        return
    faults = [_fault(path, error) for error in checked.errors]
    hint = _other_endpoint(path, checked)
    if len(faults) == 1:
        raise InvalidRequest(f"{faults[0]}{hint}; nothing was uploaded")
    for fault in faults:
        warn(fault)
    bound = "at least " if len(faults) == batch_input.MOST_ERRORS else ""
    raise InvalidRequest(f"{bound}{len(faults)} lines of {path.name} cannot be used{hint}; nothing was uploaded")


def _fault(path: Path, error: LineError) -> str:
    """Describe an error and where it is: `requests.jsonl, line 3: url is missing`."""
    where = f", line {error.line}" if error.line is not None else ""
    return f"{path.name}{where}: {error.message}"


def _other_endpoint(path: Path, checked: CheckedInput) -> str:
    """Return a hint if the url of every line is wrong and the first url is another endpoint; otherwise, return ""."""
    if len(checked.errors) < checked.total or any(error.code != "invalid_url" for error in checked.errors):
        return ""
    url = next(batch_input.requests(path)).request.url
    return f"; for requests to {url}, use --endpoint {url}" if url in ENDPOINTS else ""


@batches.command("show")
def show(batch_id: BatchId, as_json: Json = False) -> None:
    """Show one batch, with the commands that download its answers and errors."""
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
    for what, file_id in (("answers", batch["output_file_id"]), ("errors", batch["error_file_id"])):
        if file_id and batch["status"] in ENDED:
            target = f"{batch['id']}-{what}.jsonl"
            print(f"download the {what}: ostinato files download {file_id} --output {target}")


@batches.command("cancel")
def cancel(batch_id: BatchId, as_json: Json = False) -> None:
    """Cancel a batch. The answers so far are stored; `ostinato batches show` prints the command to download them."""
    with connect() as client:
        batch = client.post(f"{ROOT}/{batch_id}/cancel")
    if as_json:
        print_json(batch)
    else:
        print(f"{batch['id']} is {batch['status']}; see the answers so far with: ostinato batches show {batch['id']}")


def _counts(batch: dict[str, Any]) -> str:
    """Format a batch's request counts, such as `7 of 9, 1 failed`. Returns "" if the total is still 0."""
    counts = batch["request_counts"]
    failed = f", {counts['failed']} failed" if counts["failed"] else ""
    return f"{counts['completed']} of {counts['total']}{failed}" if counts["total"] else ""


def _error(error: dict[str, Any]) -> str:
    where = f"line {error['line']}: " if error["line"] is not None else ""
    return f"{where}{in_own_words(error['message'])}"
