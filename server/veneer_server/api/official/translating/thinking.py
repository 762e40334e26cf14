"""Whether and how a model thinks before it answers, in the words of other servers."""

from typing import Any

from veneer_server.api.errors import InvalidRequest


def switch(body: dict[str, Any]) -> dict[str, Any]:
    """Make a top-level ``enable_thinking`` an argument of the chat template."""
    return _with_template(body, "enable_thinking", body["enable_thinking"])


def of_chat(body: dict[str, Any]) -> dict[str, Any]:
    """Make ``thinking: {"type": ...}`` of a chat an argument of the chat template."""
    value = body["thinking"]
    kind = value.get("type") if isinstance(value, dict) else None
    if kind not in ("enabled", "disabled"):
        raise InvalidRequest(
            "'thinking' must be an object whose 'type' is \"enabled\" or \"disabled\".",
            param="thinking",
        )
    return _with_template(body, "thinking", kind == "enabled")


def effort(body: dict[str, Any]) -> dict[str, Any]:
    """Make ``reasoning: {"effort": ...}`` of a chat its ``reasoning_effort``."""
    value = body["reasoning"]
    if not isinstance(value, dict) or value.keys() - {"effort"} or "reasoning_effort" in body:
        raise InvalidRequest(
            "'reasoning' of a chat may only have 'effort'; or write 'reasoning_effort' instead.",
            param="reasoning",
        )
    rest = {key: found for key, found in body.items() if key != "reasoning"}
    return {**rest, "reasoning_effort": value["effort"]} if value else rest


def output_format(body: dict[str, Any]) -> dict[str, Any]:
    """Make ``output_format`` of Anthropic's beta ``output_config.format``."""
    config = body.get("output_config", {})
    if not isinstance(config, dict) or "format" in config:
        raise InvalidRequest(
            "Invalid 'output_format': write 'output_config.format' only.", param="output_format"
        )
    rest = {key: found for key, found in body.items() if key != "output_format"}
    return {**rest, "output_config": {**config, "format": body["output_format"]}}


def _with_template(body: dict[str, Any], name: str, value: Any) -> dict[str, Any]:
    given = body.get("chat_template_kwargs", {})
    if not isinstance(given, dict):
        return body
    rest = {key: found for key, found in body.items() if key != name}
    return {**rest, "chat_template_kwargs": {"enable_thinking": value, **given}}
