"""Ends an auto job whose trials have ended: chooses a trial and publishes it with a table of all trials.

The result does not depend on when or in which order the trials ended, so equal trials produce equal versions.
"""

from __future__ import annotations

import io
import re
import shutil
from collections.abc import Sequence
from typing import Any

import numpy as np

from app.checkpoint import directory as checkpoint
from app.jobs import trials
from app.jobs.records import Job
from app.registry.metrics import read_metrics
from app.registry.repository import parse_manifest
from app.runs.run_directory import RunDirectory
from app.wire.measurement import too_few, verdict
from app.wire.trainer import Done, TrainFailed
from app.worker import publish
from app.worker.choice import Candidate, TrialChoice, choose
from app.worker.lease import Lease
from app.worker.resources import Resources

_VERDICT = re.compile(r": the [^:]* is better$")  # the last part of a baseline's summary, which names the better model
RESULTS, PROBES = "results.csv", "probes.msgpack"


def conclude(resources: Resources, lease: Lease, run: RunDirectory, jobs: Sequence[Job]) -> str:
    """Publish the best trial and end the job. Return the job's status. Raises retryable errors and LeaseLost."""
    run.create()
    lease.write(lambda session: resources.jobs.log(session, lease.job.id, [trials.ended(t, len(jobs)) for t in jobs]))
    succeeded = [trial for trial in jobs if trial.result is not None]
    if not succeeded:
        return publish.fail(resources, lease, run, _failure(jobs))
    choice = choose([_candidate(resources, trial) for trial in succeeded])
    table = _table(lease.job, jobs, succeeded, choice)
    winner = succeeded[choice.chosen]
    done, reason = _write(resources, run, winner, f"winner-{lease.job.attempt}", choice.reason, table)
    return publish.publish(resources, lease, run, done, {"reason": reason, "trials": table})


def with_baseline(reason: str, metrics: dict[str, Any]) -> str:
    """Add a remark to the reason for a choice if the winner's metrics show that the baseline is better."""
    baseline = metrics.get("baseline") or {}
    if not _is_beaten(**(baseline.get("comparison") or {})):
        return reason
    return f"{reason}; the baseline is better than the chosen trial ({_VERDICT.sub('', str(baseline['summary']))})"


def _is_beaten(network: float = 0.0, baseline: float = 0.0, metric: str = "", **_: Any) -> bool:
    return baseline < network if metric == "bits_per_character" else baseline > network


def _failure(jobs: Sequence[Job]) -> TrainFailed:
    """Return the failure of a job that has no successful trial.

    If all trials have the same error code, the failure has the same code.
    """
    errors = [trial.error or {"code": trial.status, "message": trial.status, "param": None} for trial in jobs]
    if len({error["code"] for error in errors}) == 1:
        code, param = errors[0]["code"], errors[0]["param"]
    else:
        code, param = "trials_failed", None
    what = "; ".join(f"{trial.model}: {error['message']}" for trial, error in zip(jobs, errors, strict=True))
    return TrainFailed(code, f"no trial succeeded; {what}", param)


def _candidate(resources: Resources, trial: Job) -> Candidate:
    assert trial.result is not None
    data = b"".join(resources.blobs.open(trial.result["blobs"]["errors"]["sha256"]))
    errors_N = np.load(io.BytesIO(data), allow_pickle=False).astype(np.float64)
    return Candidate(trial.model, int(trial.result["parameters"]), errors_N)


def _table(job: Job, jobs: Sequence[Job], succeeded: Sequence[Job], choice: TrialChoice) -> list[dict[str, Any]]:
    """Return one row per trial. The rows do not contain times or ids, so identical jobs have identical tables."""
    gaps = {trial.id: gap for trial, gap in zip(succeeded, choice.gaps, strict=True)}
    rows = []
    for trial, planned in zip(jobs, job.settled["trials"], strict=True):
        row: dict[str, Any] = {"model": trial.model, "status": trial.status, "steps": planned["steps"]}
        if trial.result is None:
            row["error"] = (trial.error or {}).get("message")
        else:
            gap = gaps[trial.id]
            row |= {"parameters": trial.result["parameters"], "metrics": trials.figures_of(trial.result)}
            row |= {"behind": gap.mean, "standard_error": gap.standard_error}
        row["chosen"] = trial is succeeded[choice.chosen]
        rows.append(row)
    return rows


def _write(
    resources: Resources, run: RunDirectory, winner: Job, name: str, reason: str, table: list[dict[str, Any]]
) -> tuple[Done, str]:
    """Write the winner's checkpoint, with the table of all trials, to the run directory.

    Returns the event that describes the checkpoint, and the reason for the choice, with a remark if the baseline is
    better.
    """
    result = winner.result
    assert result is not None
    files = parse_manifest(result["files"])
    directory = run.path / name
    shutil.rmtree(directory, ignore_errors=True)
    shutil.copytree(resources.cache.checkpoint(checkpoint.digest(files), files), directory)
    metrics = read_metrics(directory) | {"trials": table}
    reason = with_baseline(reason, metrics)
    checkpoint.write_json(directory / "metrics.json", metrics)
    card = directory / "README.md"
    card.write_text(card.read_text(encoding="utf-8") + "\n".join(_section(reason, table)), encoding="utf-8")
    resources.blobs.fetch(result["blobs"]["results"]["sha256"], run.path / RESULTS)
    probes = PROBES if "probes" in result["blobs"] else None  # earlier releases stored none
    if probes is not None:
        resources.blobs.fetch(result["blobs"]["probes"]["sha256"], run.path / probes)
    values = {key: result[key] for key in ("task", "architecture", "parameters", "trained_tokens", "step")}
    return Done(checkpoint=name, metrics=metrics, results=RESULTS, probes=probes, **values), reason


def _section(reason: str, table: Sequence[dict[str, Any]]) -> list[str]:
    """Return the model card's section about the trials, as lines of Markdown."""
    names = [name for name in trials.FIGURES if any(name in row.get("metrics", {}) for row in table)]
    head = ["trial", "parameters", "steps", *names, "behind the best", "chosen"]
    lines = ["", "## What was tried", "", f"Chosen on the validation data: {reason}.", ""]
    lines += ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for row in table:
        figures = row.get("metrics", {})
        cells = [row["model"], f"{row['parameters']:,}" if "parameters" in row else "", str(row["steps"] or "")]
        few = too_few(figures.get("rows"))
        cells += [f"{figures[name]:.4f}" if name in figures and not few else "" for name in names]
        behind = f"{row['behind']:.4f} ± {row['standard_error']:.4f}" if "behind" in row else row["status"]
        lines.append("| " + " | ".join([*cells, behind, "yes" if row["chosen"] else ""]) + " |")
    counts = {row["metrics"]["rows"] for row in table if too_few(row.get("metrics", {}).get("rows"))}
    return [*lines, "", *(f"Validation on {verdict(rows)}.\n" for rows in sorted(counts))]
