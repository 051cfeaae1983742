"""Schemathesis' checks of valid and invalid input, which allow rejections that a schema cannot express.

`REASONS` lists their codes and messages, so that all other rejections are still findings.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import schemathesis
from schemathesis.specs.openapi import checks


class Reason(NamedTuple):
    """Why a request that conforms to the schema may be rejected, with the code and the message of the error."""

    code: str
    message: str  # regular expression
    reason: str


REASONS = (
    Reason("version_in_use", "alias", "depends on the aliases, and 409 would make OpenAI's clients try again"),
    Reason("upload_not_pending|upload_too_large", "", "depends on the upload"),
    Reason("invalid_request", "model must include a version number", "an id of the list that is not of a version"),
    Reason("invalid_request", "parts contain|is not a part of", "depends on the upload"),
    Reason("invalid_job_state", "", "depends on the state of the job, and 409 would make OpenAI's clients try again"),
    Reason("file_not_found|part_not_found|job_not_found", "", "an id in the body: 404 would mean the path"),
    Reason("invalid_file_purpose|file_too_large|empty_file|unsupported_file", "", "depends on the file"),
    Reason("invalid_archive|invalid_checkpoint", "", "the content of an archive"),
    Reason(
        "wrong_task|abstained|unknown_label|no_calibration|coverage_not_attainable|risk_not_attainable",
        "",
        "depends on the model",
    ),
    Reason("webhook_address_refused|webhook_not_answered|too_many_webhook_endpoints", "", "depends on the network"),
    Reason("invalid_request", "an IPv6 address that is not valid", "more than a pattern can express"),
    Reason("wrong_tokenizer|token_ids_unnamed", "", "depends on the model and its tokenizer"),
    Reason("context_length_exceeded|reply_too_large", "", "depends on the model and on several fields"),
    Reason("invalid_model_reference", "", "`model` may be any text, and only its form is described"),
    Reason("version_required", "", "depends on the aliases"),
    Reason("invalid_request", "requires a version trained on conversations", "depends on the model"),
    Reason("invalid_request", "must be a text encoding", "there are more names of encodings than a pattern can list"),
    Reason("idempotency_key_reused", "", "depends on earlier requests"),
    Reason("invalid_request", "(accepts at most|have \\d+ dimensions; request)", "depends on the model"),
    Reason("invalid_request", "token ids? .* (0 to|between)|must be between 0", "depends on the model's vocabulary"),
    Reason("invalid_request", "reads (text or token ids|numbers)", "depends on the model"),
    Reason("invalid_request", "(is malformed|mixes texts|is empty|may contain at most)", "an input of many shapes"),
    Reason("invalid_request", "not a float32 number|range of float32|numbers, but", "numbers beyond float32"),
    Reason("invalid_request", "contains no token|lone surrogate|not valid Unicode|NUL", "texts that cannot be stored"),
    Reason("invalid_request", "minimum and maximum require a metric", "two parameters go together"),
    Reason("invalid_request", "(needs|requires) (publish\\.)?alias", "two fields go together"),
    Reason("invalid_request", "expires_after.seconds must be a whole number", "two fields of the form go together"),
    Reason(
        "invalid_request",
        "best_of|either prompt|either as data or as instances|instances?\\b|num_predict is 0|cannot be streamed|"
        "requires details|"
        "(in|out)put.* (has|have|reads|must|once)|unknown (in|out)put|text_pair must|only for probs|"
        "inputs( must| needs|\\.text)|"
        "stream_options requires|min_tokens must not|only with echo|leave out (calibrated|threshold)|"
        "top_logprobs requires|both mean the same",
        "two fields go together",
    ),
    Reason("invalid_request", r"(arguments|name|output|input(\[\d+\]\.text)?|data) is missing", "fields go together"),
    Reason("invalid_request", "contains (a level|the label .*) twice|mixes texts and parts", "values go together"),
    Reason("invalid_request", "(role|content(\\[\\d+\\]\\.(text|refusal))?) is missing", "fields go together"),
    Reason(
        "invalid_request",
        "^(training|(method\\.supervised\\.)?hyperparameters)\\.(?!.*must be (at least|above|one of))",
        "options that exclude each other",
    ),
    Reason(
        "invalid_request", "send only one value|no effect with a validation_file", "two fields contradict each other"
    ),
    Reason(
        "invalid_request",
        "must be an integer.*, not a decimal",
        "JSON Schema counts 1.0 among the integers",
    ),
    Reason("invalid_request", "out of range|too large", "integers beyond 64 bits"),
    Reason("invalid_json", "", "numbers of thousands of digits"),
)


def reason_for(response: Any) -> str | None:
    """Return the reason for which the rejection is correct, or None if there is none."""
    try:
        body = response.json()
        code = response.headers["x-error-code"][0]
        error = body.get("error", body)  # Ollama's error is a text, and TorchServe's is the whole body
        message = error["message"] if isinstance(error, dict) else error
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    for entry in REASONS:
        if re.fullmatch(entry.code, code) and re.search(entry.message, message):
            return entry.reason
    return None


@schemathesis.check
def valid_input_is_accepted(ctx: Any, response: Any, case: Any) -> bool | None:
    """Schemathesis' `positive_data_acceptance`, except for rejections with a reason in `REASONS`."""
    if response.status_code in (400, 422, 424) and reason_for(response):
        return None
    return checks._openapi_positive_data_acceptance(ctx, response, case)


@schemathesis.check
def invalid_input_is_refused(ctx: Any, response: Any, case: Any) -> bool | None:
    """Schemathesis' `negative_data_rejection` with two exceptions. The values of forms are text, so they cannot have a
    wrong type. Clients send an empty `order`, which counts as missing."""
    if "multipart" in str(case.media_type) or (case.query or {}).get("order") == "":
        return None
    return checks._openapi_negative_data_rejection(ctx, response, case)
