"""What an upload may say of its file. Pure functions.

Source: https://platform.openai.com/docs/api-reference/files/create
"""

from collections.abc import Mapping

from veneer_server.files.errors import FileRefused
from veneer_server.files.records import UPLOADED, Purpose

_SHORTEST_S, _LONGEST_S = 3600, 30 * 24 * 3600
BATCH_DAYS_S = _LONGEST_S
"""How long the files of batches stay when nobody says how long, in seconds."""
_LONGEST_NAME = 255
_OTHERS = ("assistants", "user_data", "vision")
"""Purposes that OpenAI has beside ours."""


def purpose_of(given: str | None) -> Purpose:
    """Return the purpose that an upload names.

    Raises:
        FileRefused: it names none, or one that uploads cannot have here.
    """
    if given is None:
        raise FileRefused("Missing required parameter: 'purpose'.", param="purpose")
    for purpose in UPLOADED:
        if given == purpose:
            return purpose
    known = ", ".join(f"'{purpose}'" for purpose in UPLOADED)
    why = " This server gives no files to its models." if given in _OTHERS else ""
    raise FileRefused(
        f"Invalid value: '{given[:100]}'. Supported values are: {known}.{why}", param="purpose"
    )


def name_of(given: str | None) -> str:
    """Return the name that a file gets: the last part of what was sent, 255 characters at most."""
    last = (given or "").replace("\\", "/").rpartition("/")[2]
    shown = "".join(char if char.isprintable() else "?" for char in last)
    return shown[-_LONGEST_NAME:] or "upload"


def lasts_of(form: Mapping[str, str], purpose: Purpose) -> int | None:
    """Return for how many seconds a file stays, None when it stays until somebody deletes it.

    Raises:
        FileRefused: ``expires_after`` does not have its two fields, or the time is out of bounds.
    """
    anchor = form.get("expires_after[anchor]")
    text = form.get("expires_after[seconds]")
    if anchor is None and text is None:
        return usually_lasts(purpose)
    return seconds_after(anchor, text, "expires_after")


def usually_lasts(purpose: str) -> int | None:
    """Return for how many seconds a file of this ``purpose`` stays if nobody says how long."""
    return BATCH_DAYS_S if purpose in (Purpose.BATCH, Purpose.BATCH_OUTPUT) else None


def seconds_after(anchor: object, seconds: object, param: str) -> int:
    """Return after how many seconds a file goes.

    Raises:
        FileRefused: ``param`` names the field that is wrong.
    """
    if anchor != "created_at":
        raise FileRefused(
            f"Invalid value for '{param}.anchor': it must be 'created_at'.", param=f"{param}.anchor"
        )
    found = int(seconds) if isinstance(seconds, str) and _is_number(seconds) else seconds
    if not isinstance(found, int) or isinstance(found, bool):
        raise FileRefused(
            f"Invalid type for '{param}.seconds': expected an integer.", param=f"{param}.seconds"
        )
    if not _SHORTEST_S <= found <= _LONGEST_S:
        raise FileRefused(
            f"Invalid value for '{param}.seconds': it must be between {_SHORTEST_S} and"
            f" {_LONGEST_S}.",
            param=f"{param}.seconds",
        )
    return found


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 10
