"""`ostinato jobs`: list, show, follow, cancel, pause and resume training jobs."""

from __future__ import annotations

import itertools
from typing import Annotated, Any

import typer

from app.cli.follow import conclude, path_of, render
from app.cli.follow import follow as follow_job
from app.cli.output import Json, connect, duration, fields, json_for_all, print_json, table, when

ROOT = "/v1/fine_tuning/jobs"
JobId = Annotated[str, typer.Argument(help="Id of a job: ftjob-…")]
Limit = Annotated[int, typer.Option("--limit", min=1, help="Maximum number of items to show, newest first.")]

jobs = typer.Typer(help="List, follow, cancel, pause and resume training jobs.", invoke_without_command=True)


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
    """List the jobs, newest first."""
    chosen = {"trials": "true"} if trials else {}
    with connect() as client:
        listed = list(itertools.islice(client.pages(ROOT, limit=min(limit, 100), **chosen), limit))
    if as_json:
        print_json(listed)
        return
    rows = [
        (job["id"], status_of(job), f"{float(job.get('progress') or 0):.0%}", job["model"],
         job.get("fine_tuned_model") or (job.get("publish") or {}).get("name") or "", when(job["created_at"]))
        for job in listed
    ]  # fmt: skip
    columns = ["job", "status", "progress", "model", "version", "created"]
    table(columns, rows, empty="no jobs yet; start one with: ostinato train FILE")


def status_of(job: dict[str, Any]) -> str:
    """The status, with the phase of a running job: `running (training)`."""
    status, phase = str(job["status"]), job.get("phase")
    return f"{status} ({phase})" if status == "running" and phase not in (None, "running") else status


@jobs.command("show")
def show(job_id: JobId, as_json: Json = False) -> None:
    """Show one job."""
    with connect() as client:
        job = client.get(f"{ROOT}/{job_id}")
    if as_json:
        print_json(job)
        return
    error = job.get("error") or {}
    options = job.get("hyperparameters") or {}
    seconds = (job.get("finished_at") or 0) - job["created_at"] if job.get("finished_at") else None
    fields([
        ("job", job["id"]), ("status", status_of(job)), ("jobs before it", job.get("jobs_before")),
        ("progress", f"{float(job.get('progress') or 0):.0%}"),
        ("task", job.get("task")), ("model", job["model"]), ("version", job.get("fine_tuned_model")),
        ("error", error.get("message")), ("file", job["training_file"]), ("validation", job.get("validation_file")),
        ("seed", job.get("seed")), ("attempt", job.get("attempt")), ("tokens", job.get("trained_tokens")),
        ("options", ", ".join(f"{k} {v}" for k, v in options.items() if v is not None)),
        ("created", when(job["created_at"])), ("finished", when(job.get("finished_at"))),
        ("expected", when(job.get("estimated_finish"))), ("took", duration(seconds) if seconds else None),
        ("trial of", job.get("parent_id")), ("reason", job.get("reason")),
    ])  # fmt: skip
    if job.get("trials"):
        table(["trial", "model", "status", "validation", "parameters", ""], [_trial(trial) for trial in job["trials"]])


def _trial(trial: dict[str, Any]) -> tuple[str, str, str, str, str, str]:
    figures = ", ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in trial["metrics"].items())
    status = trial["status"] if trial["status"] != "running" else f"running ({float(trial['progress']):.0%})"
    size = f"{trial['parameters']:,}" if trial.get("parameters") else ""
    return trial["id"], trial["model"], status, figures or trial.get("error") or "", size, "chosen" * trial["chosen"]


@jobs.command("follow")
def follow(job_id: JobId, as_json: Json = False) -> None:
    """Follow a job until it ends."""
    from app.cli.train import published

    with connect() as client:
        job = follow_job(client, job_id, as_json=as_json)
        if as_json:
            raise typer.Exit(job["status"] != "succeeded")
        conclude(job, published(client, job))


@jobs.command("events")
def list_events(job_id: JobId, limit: Limit = 50, as_json: Json = False) -> None:
    """List a job's newest events, oldest first."""
    with connect() as client:
        newest = itertools.islice(client.pages(f"{path_of(job_id)}/events", limit=min(limit, 100)), limit)
        events = list(newest)[::-1]
    if as_json:
        print_json(events)
        return
    table(["when", "event"], [(when(e["created_at"]), render(e) or e["message"]) for e in events])


@jobs.command("checkpoints")
def list_checkpoints(job_id: JobId, as_json: Json = False) -> None:
    """List a job's checkpoints. Each id can be used as a model."""
    with connect() as client:
        checkpoints = list(client.pages(f"{ROOT}/{job_id}/checkpoints"))
    if as_json:
        print_json(checkpoints)
        return
    rows = [
        (c["id"], c["step_number"], " ".join(f"{k} {v:.3f}" for k, v in c["metrics"].items() if isinstance(v, float)))
        for c in checkpoints
    ]
    table(["checkpoint", "step", "metrics"], rows)


@jobs.command("cancel")
def cancel(job_id: JobId, as_json: Json = False) -> None:
    """Cancel a job. No version is published."""
    _act(job_id, "cancel", as_json)


@jobs.command("pause")
def pause(job_id: JobId, as_json: Json = False) -> None:
    """Pause a job. The job saves its progress and can be resumed."""
    _act(job_id, "pause", as_json)


@jobs.command("resume")
def resume(job_id: JobId, as_json: Json = False) -> None:
    """Resume a paused job."""
    _act(job_id, "resume", as_json)


def _act(job_id: str, action: str, as_json: bool) -> None:
    with connect() as client:
        job = client.post(f"{path_of(job_id)}/{action}")
    print_json(job) if as_json else print(f"{job['id']} is {status_of(job)}")
