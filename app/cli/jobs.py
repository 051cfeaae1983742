"""`ostinato jobs`: list, show, follow, cancel, pause and resume training jobs and evaluations."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.evaluate import print_report
from app.cli.follow import follow as follow_job
from app.cli.follow import is_evaluation, path_of, render
from app.cli.outcome import conclude
from app.cli.output import MOST_LISTED, Json, connect, duration, fields, json_for_all, print_json, table, warn, when
from app.cli.wording import in_own_words
from app.errors import InvalidRequest, OstinatoError
from app.wire.measurement import shown_metric, shown_metrics
from app.wire.training_options import TrainingOptions

if TYPE_CHECKING:
    from app.client import Client

ROOT = "/v1/fine_tuning/jobs"
# Names of hyperparameters -> names to show. Contains the options, and the number of steps that the trainer determines.
SHOWN = {name: name.replace("_", " ") for name in TrainingOptions.__struct_fields__}
SHOWN |= {"n_epochs": "epochs", "total_steps": "steps"}
JobId = Annotated[str, typer.Argument(help="Id of a training job or an evaluation: ftjob-… or evaljob-…")]
Limit = Annotated[
    int, typer.Option("--limit", min=1, max=MOST_LISTED, help="Maximum number of items; the newest are listed.")
]

jobs = typer.Typer(
    help="List, follow, cancel, pause and resume training jobs and evaluations. Without a command, lists them.",
    invoke_without_command=True,
)


@jobs.callback()
def root(context: typer.Context, as_json: Json = False) -> None:
    if context.invoked_subcommand is None:
        list_jobs(as_json=as_json)
    elif as_json:
        json_for_all(context)


@jobs.command("list")
def list_jobs(
    limit: Limit = 20,
    trials: Annotated[bool, typer.Option("--trials", help="Also list the trials of auto jobs.")] = False,
    as_json: Json = False,
) -> None:
    """List the training jobs and evaluations, newest first."""
    with connect() as client:
        listed = list(itertools.islice(_all_jobs(client, min(limit, 100), trials), limit))
    if as_json:
        print_json(listed)
        return
    columns = ["job", "status", "progress", "model", "version", "created"]
    table(columns, map(_row, listed), empty="no jobs yet; start one with: ostinato train FILE")


def _check_job(job_id: str, command: str) -> None:
    """Raise InvalidRequest for the id of a batch. The message names the command for batches, if there is one."""
    if job_id.startswith("batch-"):
        command = {"show": "show", "follow": "show", "cancel": "cancel"}.get(command, "")
        advice = f"; use: ostinato batches {command} {job_id}" if command else ", which can only be shown and cancelled"
        raise InvalidRequest(f"{job_id} is a batch{advice}")


def _all_jobs(client: Client, page: int, trials: bool) -> Iterator[dict[str, Any]]:
    """The training jobs and evaluations, newest first."""
    chosen = {"trials": "true"} if trials else {}
    both = client.pages(ROOT, limit=page, **chosen), client.pages("/v1/evaluations", limit=page)
    yield from heapq.merge(*both, key=lambda job: -int(job["created_at"]))


def _row(job: dict[str, Any]) -> tuple[str, ...]:
    """Format a job as a row of the list. The row for an evaluation has no progress, but shows the evaluated version."""
    progress = f"{float(job['progress'] or 0):.0%}" if "progress" in job else ""
    version = job.get("fine_tuned_model") or job.get("version") or (job.get("publish") or {}).get("name") or ""
    return job["id"], status_of(job), progress, job["model"], version, when(job["created_at"])


def status_of(job: dict[str, Any]) -> str:
    """The status, including a running job's phase: `running (training)`."""
    status, phase = str(job["status"]), job.get("phase")
    return f"{status} ({phase})" if status == "running" and phase not in (None, "running") else status


@jobs.command("show")
def show(job_id: JobId, as_json: Json = False) -> None:
    """Show one job."""
    _check_job(job_id, "show")
    with connect() as client:
        job = client.get(path_of(job_id))
    if as_json:
        print_json(job)
        return
    if is_evaluation(job_id):
        _show_evaluation(job)
        return
    error = job.get("error") or {}
    fields([
        ("job", job["id"]), ("status", status_of(job)), ("jobs before it", job.get("jobs_before")),
        ("progress", f"{float(job.get('progress') or 0):.0%}"),
        ("task", job.get("task")), ("model", job["model"]), ("version", job.get("fine_tuned_model")),
        ("error", in_own_words(error.get("message") or "")),
        ("file", job["training_file"]), ("validation", job.get("validation_file")),
        ("seed", job.get("seed")), ("attempt", job.get("attempt")), ("tokens", job.get("trained_tokens")),
        ("options", ", ".join(_options(job.get("hyperparameters") or {}))),
        ("created", when(job["created_at"])), ("finished", when(job.get("finished_at"))),
        ("expected", when(job.get("estimated_finish"))), ("took", _took(job)),
        ("trial of", job.get("parent_id")), ("reason", job.get("reason")),
    ])  # fmt: skip
    if job.get("trials"):
        table(["trial", "model", "status", "validation", "parameters", ""], [_trial(trial) for trial in job["trials"]])


def _options(hyperparameters: dict[str, Any]) -> Iterator[str]:
    """Format the hyperparameters that have a command-line option. With `--json`, `jobs show` prints all of them."""
    for name, value in hyperparameters.items():
        if value is not None and name in SHOWN:
            yield f"{SHOWN[name]} {value}"


def _show_evaluation(job: dict[str, Any]) -> None:
    error = job.get("error") or {}
    fields([
        ("evaluation", job["id"]), ("status", status_of(job)), ("jobs before it", job.get("jobs_before")),
        ("task", job.get("task")), ("version", job["version"]), ("against", job.get("against_version")),
        ("error", in_own_words(error.get("message") or "")), ("file", job["file"]), ("attempt", job.get("attempt")),
        ("created", when(job["created_at"])), ("finished", when(job.get("finished_at"))), ("took", _took(job)),
    ])  # fmt: skip
    if job["report"] is not None:
        print()
        for warning in job["report"].get("warnings", ()):  # `jobs follow` prints them as events
            print(f"warning: {in_own_words(warning)}")
        print_report(job)


def _took(job: dict[str, Any]) -> str:
    """The time from a job's creation to its end, or "" if it has not ended."""
    finished = job.get("finished_at")
    return duration(finished - job["created_at"]) if finished and finished > job["created_at"] else ""


def _trial(trial: dict[str, Any]) -> tuple[str, str, str, str, str, str]:
    figures = shown_metrics(trial["metrics"])
    status = trial["status"] if trial["status"] != "running" else f"running ({float(trial['progress']):.0%})"
    size = f"{trial['parameters']:,}" if trial.get("parameters") else ""
    return trial["id"], trial["model"], status, figures or trial.get("error") or "", size, "chosen" * trial["chosen"]


@jobs.command("follow")
def follow(job_id: JobId, as_json: Json = False) -> None:
    """Follow a job until it ends."""
    _check_job(job_id, "follow")
    with connect() as client:
        job = follow_job(client, job_id, as_json=as_json)
        if as_json:
            raise typer.Exit(job["status"] != "succeeded")
        if not is_evaluation(job_id):
            conclude(client, job)
            return
    print_report(job)
    if job["status"] != "succeeded":
        raise typer.Exit(1)


@jobs.command("events")
def list_events(job_id: JobId, limit: Limit = 50, as_json: Json = False) -> None:
    """List a job's latest events in chronological order."""
    _check_job(job_id, "events")
    with connect() as client:
        newest = itertools.islice(client.pages(f"{path_of(job_id)}/events", limit=min(limit, 100)), limit)
        events = list(newest)[::-1]
    if as_json:
        print_json(events)
        return
    table(["when", "event"], [(when(e["created_at"]), render(e) or in_own_words(e["message"])) for e in events])


@jobs.command("checkpoints")
def list_checkpoints(job_id: JobId, as_json: Json = False) -> None:
    """List a training job's checkpoints. Each id can be used as a model."""
    if is_evaluation(job_id):
        raise InvalidRequest(f"{job_id} is an evaluation; only training jobs have checkpoints")
    _check_job(job_id, "checkpoints")
    with connect() as client:
        checkpoints = list(client.pages(f"{ROOT}/{job_id}/checkpoints"))
    if as_json:
        print_json(checkpoints)
        return
    rows = [
        (
            c["id"],
            c["step_number"],
            ", ".join(shown_metric(k, v) for k, v in c["metrics"].items() if isinstance(v, float)),
        )
        for c in checkpoints
    ]
    table(["checkpoint", "step", "metrics"], rows)


@jobs.command("cancel")
def cancel(
    job_ids: Annotated[list[str], typer.Argument(help="Ids of training jobs or evaluations: ftjob-… or evaljob-…")],
    as_json: Json = False,
) -> None:
    """Cancel one or more jobs, without publishing a version."""
    failures = 0
    for job_id in job_ids:
        try:
            _act(job_id, "cancel", as_json)
        except OstinatoError as error:
            if len(job_ids) == 1:
                raise
            message = in_own_words(error.message)
            warn(message if message.startswith(job_id) else f"{job_id}: {message}")
            failures += 1
    if failures:
        raise typer.Exit(1)


@jobs.command("pause")
def pause(job_id: JobId, as_json: Json = False) -> None:
    """Pause a job. The job saves its progress and can be resumed."""
    _act(job_id, "pause", as_json)


@jobs.command("resume")
def resume(job_id: JobId, as_json: Json = False) -> None:
    """Resume a paused job."""
    _act(job_id, "resume", as_json)


def _act(job_id: str, action: str, as_json: bool) -> None:
    _check_job(job_id, action)
    with connect() as client:
        job = client.post(f"{path_of(job_id)}/{action}")
    print_json(job) if as_json else print(f"{job['id']} is {status_of(job)}")
