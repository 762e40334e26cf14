"""What the family of a base model decides by itself: which of vLLM's parsers read its answers.

A parser is chosen only when the model's own chat template shows the form that the parser reads.
So a fine-tune with another template, or with none, gets none.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Family:
    """A family of models, its parsers, and what its chat template must show for each."""

    name: str
    kinds: tuple[str, ...]
    """The beginnings of ``model_type`` in config.json."""
    tools: str | None = None
    """vLLM's name of the parser of tool calls."""
    tool_marks: tuple[str, ...] = ()
    """Texts in the chat template; one of them is there when the model was trained on tools."""
    reasoning: str | None = None
    reasoning_marks: tuple[str, ...] = ()


_CALL, _THINK = "<tool_call>", "</think>"
FAMILIES = (
    # The more special ones come first: the first that fits decides.
    Family("Qwen3-Coder", ("qwen3",), "qwen3_coder", ("<function=",), "qwen3", (_THINK,)),
    Family("Qwen3", ("qwen3",), "hermes", (_CALL,), "qwen3", (_THINK,)),
    Family("Qwen2 and Hermes", ("qwen2",), "hermes", (_CALL,), "deepseek_r1", (_THINK,)),
    Family("Llama 4", ("llama4",), "llama4_pythonic", ("python",)),
    Family("Hermes on Llama", ("llama", "mistral"), "hermes", (_CALL,), "deepseek_r1", (_THINK,)),
    Family("Llama 3", ("llama",), "llama3_json", ("Environment: ipython",)),
    Family("Mistral", ("mistral", "mixtral"), "mistral", ("[TOOL_CALLS]",)),
    Family("DeepSeek V3", ("deepseek_v3",), "deepseek_v3", ("```json",), "deepseek_r1", (_THINK,)),
    Family("DeepSeek V3.1", ("deepseek_v3",), "deepseek_v31", ("tool▁calls▁begin",)),
    Family("Granite", ("granite",), "granite", ("<|tool_call|>",)),
    Family("Granite 4", ("granite",), "granite4", (_CALL,)),
    Family("Phi-4 mini", ("phi3", "phi4"), "phi4_mini_json", ("<|tool|>",)),
    Family("gpt-oss", ("gpt_oss",), "openai", ("<|channel|>",), "openai_gptoss", ("<|channel|>",)),
    Family("GLM 4.5", ("glm4_moe",), "glm45", ("<arg_key>",), "glm45", (_THINK,)),
    Family("Olmo 3", ("olmo3",), "olmo3", ("<function_calls>",), "olmo3", (_THINK,)),
    Family("FunctionGemma", ("gemma3",), "functiongemma", ("<start_function_call>",)),
    Family("SmolLM3", ("smollm3",), "hermes", (_CALL,), "qwen3", (_THINK,)),
    Family("Kimi K2", ("kimi_k2",), "kimi_k2", ("<|tool_calls_section_begin|>",)),
    Family(
        "MiniMax M2", ("minimax",), "minimax_m2", ("<minimax:tool_call>",), "minimax_m2", (_THINK,)
    ),
    Family(
        "Seed-OSS", ("seed_oss",), "seed_oss", ("<seed:tool_call>",), "seed_oss", ("<seed:think>",)
    ),
    Family("Jamba", ("jamba",), "jamba", ("<tool_calls>",)),
    Family("InternLM", ("internlm",), "internlm", ("<|plugin|>",)),
)


@dataclass(frozen=True, slots=True)
class Parsers:
    """The parsers of vLLM's for a model; None where none is known to fit."""

    tools: str | None = None
    reasoning: str | None = None
    family: str | None = None


def choose_parsers(config: Mapping[str, object], template: str | None) -> Parsers:
    """Return the parsers for a model with this config.json and this chat template."""
    kind = str(config.get("model_type") or "")
    fitting = [family for family in FAMILIES if kind.startswith(family.kinds)]
    tools = next((f for f in fitting if _shows(template, f.tool_marks)), None)
    reasoning = next((f for f in fitting if _shows(template, f.reasoning_marks)), None)
    named = tools or reasoning
    return Parsers(
        tools=tools.tools if tools else None,
        reasoning=reasoning.reasoning if reasoning else None,
        family=named.name if named else None,
    )


def _shows(template: str | None, marks: tuple[str, ...]) -> bool:
    return template is not None and any(mark in template for mark in marks)
