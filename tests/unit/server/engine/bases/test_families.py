"""Which parsers a base model gets by itself."""

import pytest

from veneer_server.engine.vllm.bases.families import FAMILIES, Parsers, choose_parsers

TOOLS = "{% if tools %}<tool_call>{% endif %}"


@pytest.mark.parametrize(
    ("kind", "template", "tools", "reasoning"),
    [
        ("qwen3", f"{TOOLS}</think>", "hermes", "qwen3"),
        ("qwen3_moe", TOOLS, "hermes", None),
        ("qwen3_moe", f"{TOOLS}<function=x>", "qwen3_coder", None),
        ("qwen2", TOOLS, "hermes", None),
        ("llama", "Environment: ipython", "llama3_json", None),
        ("llama", TOOLS, "hermes", None),
        ("mistral", "[TOOL_CALLS]", "mistral", None),
        ("gpt_oss", "<|channel|>", "openai", "openai_gptoss"),
        ("llama", "plain", None, None),
        ("unheard_of", TOOLS, None, None),
        ("qwen3", None, None, None),
    ],
)
def test_the_family_and_the_template_choose(
    kind: str, template: str | None, tools: str | None, reasoning: str | None
) -> None:
    found = choose_parsers({"model_type": kind}, template)
    assert (found.tools, found.reasoning) == (tools, reasoning)


def test_a_config_without_a_kind_chooses_nothing() -> None:
    assert choose_parsers({}, TOOLS) == Parsers()


@pytest.mark.engine
def test_vllm_has_every_parser() -> None:
    tools = pytest.importorskip("vllm.tool_parsers").ToolParserManager
    reasoning = pytest.importorskip("vllm.reasoning").ReasoningParserManager
    for family in FAMILIES:
        if family.tools:
            assert tools.get_tool_parser(family.tools), family.name
        if family.reasoning:
            assert reasoning.get_reasoning_parser(family.reasoning), family.name
