"""An error names the field that the client wrote, whatever vLLM calls it."""

from typing import Any

import pytest

from veneer_server.engine.vllm.fields import field_of, written

SCHEMA = {"type": "json_schema"}


@pytest.mark.parametrize(
    ("body", "param", "message", "field"),
    [
        ({"temperature": 3}, "temperature", "too hot", "temperature"),
        ({"logprobs": True, "top_logprobs": 21}, "logprobs", "21 > 20", "top_logprobs"),
        ({"prompt": "x", "logprobs": 21}, "logprobs", "21 > 20", "logprobs"),
        ({"input": "x", "top_logprobs": 21}, "logprobs", "21 > 20", "top_logprobs"),
        ({"max_completion_tokens": 9}, "max_tokens", "9 > 8", "max_completion_tokens"),
        ({"max_output_tokens": 9}, "max_tokens", "9 > 8", "max_output_tokens"),
        ({"tool_choice": {"type": "x"}}, "tool_choice.function", "missing", "tool_choice"),
        ({"tools": [{"a": 1}]}, "tools.0.a", "odd", "tools[0].a"),
        ({}, "messages", "missing", "messages"),
        ({"min_p": 3}, None, "min_p must be in [0, 1]", "min_p"),
        ({"n": 2, "temperature": 0}, None, "n must be 1 when using greedy sampling", "n"),
        ({"min_tokens": 5}, None, "the value of min_tokens is 5", "min_tokens"),
        ({"stop": "x"}, None, "The model cannot stop here.", None),
        ({"prompt": [9]}, None, "Token id 9 is out of vocabulary", "prompt"),
        ({"response_format": SCHEMA, "tools": []}, None, "Grammar error: x", "response_format"),
        ({"text": {"format": SCHEMA}}, None, "Invalid grammar specification: x", "text"),
        ({"output_config": {}}, None, "Failed to transform json schema: x", "output_config"),
        ({"structured_outputs": {}, "tools": []}, None, "invalid regex", "structured_outputs"),
        ({"tools": [1]}, None, "Grammar error: x", "tools"),
        ({"messages": []}, None, "Grammar error: x", None),
        ({"messages": []}, None, "Cannot apply chat template", "messages"),
        ({"messages": [], "chat_template_kwargs": {}}, None, "jinja2: x", "chat_template_kwargs"),
        ({"messages": []}, None, "base is not a multimodal model", "messages"),
        ({"messages": []}, "type", "Unsupported chat content part type: 'file'.", "messages"),
        ({"input": [1]}, "url", "cannot be fetched", "input"),
        ({"messages": []}, "prompt_embeds", "requires `data`", "messages"),
        ({"messages": []}, "image", "At most 0 image(s) may be provided", "messages"),
        ({"messages": []}, "chat_template", "cannot be applied", "messages"),
        ({"input": "x", "reasoning": {}}, "reasoning_effort", "unknown", "reasoning"),
        ({"type": "x"}, "type", "odd", "type"),
        ({"tools": [], "odd": {"min_count": 0}}, None, "min_count must be >= 2", "odd"),
        ({"odd": {"count": 0}}, None, "count must be >= 2", None),
        ({"seed": 1}, None, "Something is wrong.", None),
    ],
)  # fmt: skip
def test_an_error_names_the_field_that_the_client_wrote(
    body: dict[str, Any], param: str | None, message: str, field: str | None
) -> None:
    assert field_of(body, param, message) == field


def test_the_types_in_a_location_are_left_out() -> None:
    body = {"messages": [{"role": "user", "content": None}]}
    location = ("messages", 0, "UserMessage", "content", "str")
    assert written(body, location) == ["messages", "0", "content"]
    assert written(body, ("messages", 1, "role")) == ["messages"]
