"""Ids that nobody can guess."""

import re
import secrets

_PREFIXES = {
    "message": "msg",
    "function_call": "fc",
    "function_call_output": "fco",
    "reasoning": "rs",
}
_USABLE = re.compile(r"[A-Za-z0-9_-]{1,128}")


def new_id(prefix: str) -> str:
    """Return an id that begins with ``prefix`` and an underscore."""
    return f"{prefix}_{secrets.token_hex(24)}"


def new_item_id(kind: object) -> str:
    """Return an id for an item whose type is ``kind``."""
    return new_id(_PREFIXES.get(str(kind), "item"))


def is_id(text: object) -> bool:
    """Return whether ``text`` can be an id at all, so that the database may be asked for it."""
    return isinstance(text, str) and _USABLE.fullmatch(text) is not None
