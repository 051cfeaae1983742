"""The worker's part of an evaluation: prepares its run directory, and stores its report and predictions."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy.orm import Session

from app import strict_json
from app.jobs.records import CANCELLED, SUCCEEDED, Job
from app.registry.repository import parse_manifest
from app.runs.run_directory import RunDirectory
from app.wire.trainer import Evaluated, EvaluationSpec
from app.worker.lease import Lease
from app.worker.publish import RESULTS
from app.worker.resources import Resources


def fill(resources: Resources, job: Job, run: RunDirectory) -> None:
    """Fetch an evaluation's file and versions into its run directory."""
    run.fill_evaluation(msgspec.convert(job.request["spec"], EvaluationSpec), resources.blobs)
    base = job.request["base"]
    run.fill_base(base["digest"], parse_manifest(base["files"]), resources.cache)
    if other := job.request.get("other"):
        run.fill_base(other["digest"], parse_manifest(other["files"]), resources.cache, "against")


def finish(resources: Resources, lease: Lease, run: RunDirectory, evaluated: Evaluated) -> str:
    """Store the predictions as a file and end the job with its report. Return the job's status.

    Raises retryable errors and LeaseLost.
    """
    predictions = run.inside(evaluated.predictions)
    blob = resources.blobs.put_file(predictions), predictions.stat().st_size
    report: dict[str, Any] = strict_json.mend(evaluated.report)

    def end(session: Session) -> str:
        job, attempt = lease.job, lease.job.attempt
        if resources.jobs.hold(session, job.id, attempt).cancel:
            return resources.jobs.finish(session, job.id, attempt, CANCELLED)
        file = resources.files.record(session, job.owner, f"{job.id}-predictions.csv", RESULTS, *blob)
        return resources.jobs.finish(session, job.id, attempt, SUCCEEDED, result_files=[file.id], report=report)

    return lease.end(end)
