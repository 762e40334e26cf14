"""What a response is to include beside its text."""

from typing import Any

_HOSTED = (
    "code_interpreter_call.",
    "computer_call_output.",
    "file_search_call.",
    "web_search_call.",
)


def of_what_is_there(body: dict[str, Any]) -> dict[str, Any]:
    """Return ``body`` whose ``include`` names nothing of hosted tools: none can be called."""
    wanted = body["include"]
    if not isinstance(wanted, list):
        return body
    kept = [one for one in wanted if not (isinstance(one, str) and one.startswith(_HOSTED))]
    return {**body, "include": kept}
