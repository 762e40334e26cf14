"""Which field of a client's body an error is about. Pure functions.

vLLM names its own parameters, or none. A client only knows the fields that it wrote.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

_PROMPTS = ("messages", "prompt", "input", "tokens")
_CONSTRAINTS = ("structured_outputs", "response_format", "text", "output_config", "tools")
"""Fields that can hold a schema or a grammar, the most direct first."""
_WRITTEN_AS = {
    "chat_template": ("chat_template_kwargs", *_PROMPTS),
    "logprobs": ("top_logprobs",),
    "max_tokens": ("max_completion_tokens", "max_output_tokens"),
    "messages": _PROMPTS,
    "prompt": _PROMPTS,
    "reasoning_effort": ("reasoning", "output_config", "thinking"),
    "response_format": ("text", "output_config"),
    "structured_outputs": _CONSTRAINTS,
}
"""vLLM's parameters, and how else a client may have written them."""
_INSIDE = frozenset(
    {"audio_filesize_mb", "file", "image_url", "tool_calls", "type", "url"}
    | {"audio", "image", "video", "audio_embeds", "image_embeds", "prompt_embeds", "video_embeds"}
)
"""What vLLM names without saying where: each stands in a message, or in a part of one."""
_TOPICS = (
    (re.compile(r"chat.?template|jinja", re.IGNORECASE), ("chat_template_kwargs", *_PROMPTS)),
    (re.compile(r"\b(grammar|schema|regex|structural|choice\b)", re.IGNORECASE), _CONSTRAINTS),
    (re.compile(r"\b(token id \d|prompt|conversation|multimodal)", re.IGNORECASE), _PROMPTS),
)
"""What a message may be about, and the fields that a client may have written it in."""


def field_of(body: Mapping[str, Any], param: str | None, message: str) -> str | None:
    """Return the field of ``body`` that an error is about, None when nobody can tell.

    ``param`` is vLLM's name for it, if the error has one.
    """
    if param:
        return _as_written(body, param)
    if (named := _named(body, message)) is not None:
        return named
    topics = (fields for topic, fields in _TOPICS if topic.search(message))
    return next((name for fields in topics for name in fields if name in body), None)


def prompt_of(body: Mapping[str, Any]) -> str | None:
    """Return the field of ``body`` that the model reads."""
    return next((name for name in _PROMPTS if name in body), None)


def constraint_of(body: Mapping[str, Any]) -> str | None:
    """Return the field of ``body`` with the schema or grammar that an answer must fit."""
    return next((name for name in _CONSTRAINTS if name in body), None)


def written(body: Mapping[str, Any], path: Iterable[str | int]) -> list[str]:
    """Return those parts of ``path`` that lead through ``body``."""
    found: list[str] = []
    here: Any = body
    for part in path:
        if _has(here, part):
            here = here[part]
            found.append(str(part))
    return found


def path_of(parts: Iterable[str]) -> str:
    """Return ``parts`` as OpenAI writes a place in a body: ``messages[0].content``."""
    path = "".join(f"[{part}]" if part.isdigit() else f".{part}" for part in parts)
    return path.removeprefix(".")


def _has(here: Any, part: str | int) -> bool:
    if isinstance(here, list):
        return isinstance(part, int) and part < len(here)
    return isinstance(here, Mapping) and part in here


def _as_written(body: Mapping[str, Any], param: str) -> str:
    first = param.split(".", maxsplit=1)[0]
    # OpenAI's chat has both names, and only one of them is a number.
    if first not in body or isinstance(body[first], bool):
        other = next((name for name in _WRITTEN_AS.get(first, ()) if name in body), None)
        if other is not None:
            return other
        if first in _INSIDE and (prompt := prompt_of(body)) is not None:
            return prompt
    parts = [int(part) if part.isdigit() else part for part in param.split(".")]
    return path_of(written(body, parts)) or param


def _named(body: Mapping[str, Any], message: str) -> str | None:
    # A plain word like "stop" is a field only at the beginning; elsewhere it may be English.
    words = re.findall(r"\w+", message)
    likely = words[:1] + [word for word in words if "_" in word]
    if (found := next((word for word in likely if word in body), None)) is not None:
        return found
    inner = {word for word in words if "_" in word}
    return next((name for name, value in body.items() if _holds(value, inner)), None)


def _holds(value: Any, names: set[str]) -> bool:
    return isinstance(value, Mapping) and not names.isdisjoint(value)
