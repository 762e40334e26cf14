"""A batch in OpenAI's shape. Pure."""

from typing import Any

from veneer_server.batches.batches import WINDOW
from veneer_server.batches.records import Batch, LineFault, Progress, Status
from veneer_server.worklist.pages import Page


def to_document(batch: Batch) -> dict[str, Any]:
    """Return ``batch`` in OpenAI's shape; what is not known yet is left out."""
    progress = batch.progress
    shown = {
        "id": batch.id,
        "object": "batch",
        "endpoint": batch.endpoint,
        "model": batch.model,
        "errors": _to_errors(batch.faults) if batch.faults else None,
        "input_file_id": batch.input_file,
        "completion_window": WINDOW,
        "status": str(batch.status),
        "output_file_id": batch.output_file,
        "error_file_id": batch.error_file,
        "created_at": batch.created,
        "expires_at": batch.expires,
        **batch.times,
        "request_counts": {
            "total": batch.total,
            "completed": progress.completed,
            "failed": progress.failed,
        },
        "usage": None if batch.status is Status.VALIDATING else _to_usage(progress),
        "metadata": batch.metadata,
    }
    return {name: value for name, value in shown.items() if value is not None}


def to_list(page: Page[Batch]) -> dict[str, Any]:
    """Return ``page`` in OpenAI's shape."""
    shown: dict[str, Any] = {
        "object": "list",
        "data": [to_document(batch) for batch in page.items],
        "has_more": page.more,
    }
    if page.items:
        shown |= {"first_id": page.items[0].id, "last_id": page.items[-1].id}
    return shown


def _to_errors(faults: tuple[LineFault, ...]) -> dict[str, Any]:
    data = [
        {"code": fault.code, "message": fault.message, "param": fault.param, "line": fault.line}
        for fault in faults
    ]
    return {"object": "list", "data": data}


def _to_usage(progress: Progress) -> dict[str, Any]:
    return {
        "input_tokens": progress.input_tokens,
        "input_tokens_details": {"cached_tokens": progress.cached_tokens},
        "output_tokens": progress.output_tokens,
        "output_tokens_details": {"reasoning_tokens": progress.reasoning_tokens},
        "total_tokens": progress.input_tokens + progress.output_tokens,
    }
