"""What a request for a batch may say. Pure.

Source: https://platform.openai.com/docs/api-reference/batch/create
"""

from collections.abc import Mapping
from typing import Any

from veneer_server.api.errors import InvalidRequest
from veneer_server.api.official.checking import check_metadata
from veneer_server.batches.answering import ENDPOINTS
from veneer_server.batches.batches import WINDOW, Asked
from veneer_server.files.rules import seconds_after

_KNOWN = {"input_file_id", "endpoint", "completion_window", "metadata", "output_expires_after"}


def to_asked(body: Mapping[str, Any]) -> Asked:
    """Return what ``body`` asks for.

    Raises:
        InvalidRequest, FileRefused: ``param`` names what is missing or impossible.
    """
    for name in sorted(body.keys() - _KNOWN):
        shown = name[:100]
        raise InvalidRequest(f"Unknown parameter: '{shown}'.", param=shown)
    window = _text(body, "completion_window")
    if window != WINDOW:
        raise InvalidRequest(
            f"Invalid value: '{window[:100]}'. The only window is '{WINDOW}'.",
            param="completion_window",
        )
    endpoint = _text(body, "endpoint")
    if endpoint not in ENDPOINTS:
        known = ", ".join(f"'{path}'" for path in ENDPOINTS)
        raise InvalidRequest(
            f"Invalid value: '{endpoint[:100]}'. Supported values are: {known}.", param="endpoint"
        )
    return Asked(
        input_file=_text(body, "input_file_id"),
        endpoint=endpoint,
        metadata=_metadata(body.get("metadata")),
        output_expires_s=_expiry(body.get("output_expires_after")),
    )


def _text(body: Mapping[str, Any], name: str) -> str:
    found = body.get(name)
    if found is None:
        raise InvalidRequest(f"Missing required parameter: '{name}'.", param=name)
    if not isinstance(found, str):
        raise InvalidRequest(f"Invalid type for '{name}': expected a string.", param=name)
    return found


def _metadata(found: Any) -> dict[str, str] | None:
    if found is None:
        return None
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise InvalidRequest(
            "Invalid type for 'metadata': expected an object of strings.", param="metadata"
        )
    check_metadata(found)
    return found


def _expiry(found: Any) -> int | None:
    if found is None:
        return None
    if not isinstance(found, dict):
        raise InvalidRequest(
            "Invalid type for 'output_expires_after': expected an object.",
            param="output_expires_after",
        )
    return seconds_after(found.get("anchor"), found.get("seconds"), "output_expires_after")
