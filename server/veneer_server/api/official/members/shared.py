"""Members that several endpoints treat alike."""

from veneer_server.api.official.members.base import (
    Body,
    Member,
    honoured,
    ignored,
    refused,
    translated,
    when_true,
)
from veneer_server.api.official.translating import constraints, sampling

_OPERATOR = "Only the server may set it."
ENGINE_ONLY = refused(
    _OPERATOR,
    "cache_salt",
    "chat_template",
    "ec_transfer_params",
    "enable_response_messages",
    "kv_transfer_params",
    "media_io_kwargs",
    "mm_payload",
    "mm_processor_kwargs",
    "previous_input_messages",
    "priority",
    "prompt_embeds",
    "request_id",
    "return_mm_kwargs",
    "routed_experts_prompt_start",
    "session_id",
    "vllm_xargs",
) | refused("This server's engine has no watermark.", "watermarking", asks=when_true)
"""vLLM's own members that steer its cache, scheduler, connectors or templates, not the answer."""

PLATFORM = ignored(
    "It only concerns OpenAI's platform.",
    "client_metadata",
    "prediction",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
    "store",
) | ignored("The model has no such setting.", "verbosity")
"""Clients send these to every endpoint."""

ECHOED = ignored("It only concerns OpenAI's platform.", "metadata") | ignored(
    "Only a sticky alias reads it, to choose a revision.", "user"
)
"""Members that are ignored too, except that Responses repeats them."""

SAMPLING = honoured(
    "frequency_penalty",
    "ignore_eos",
    "include_stop_str_in_output",
    "logit_bias",
    "min_p",
    "presence_penalty",
    "repetition_penalty",
    "seed",
    "skip_special_tokens",
    "stop",
    "stop_token_ids",
    "structured_outputs",
    "structured_outputs.choice",
    "structured_outputs.disable_additional_properties",
    "structured_outputs.disable_any_whitespace",
    "structured_outputs.grammar",
    "structured_outputs.json",
    "structured_outputs.json_object",
    "structured_outputs.regex",
    "structured_outputs.structural_tag",
    "structured_outputs.whitespace_pattern",
    "temperature",
    "top_k",
    "top_p",
)
"""OpenAI's and vLLM's members that steer how a token is chosen and where an answer ends."""

MORE_SAMPLING = honoured(
    "allowed_token_ids",
    "bad_words",
    "length_penalty",
    "logprob_token_ids",
    "min_tokens",
    "prompt_logprobs",
    "repetition_detection",
    "return_token_ids",
    "return_tokens_as_token_ids",
    "spaces_between_special_tokens",
    "stream_interval",
    "thinking_token_budget",
    "truncate_prompt_tokens",
    "truncation_side",
    "use_beam_search",
) | refused("Only vLLM's routes that render have it.", "return_token_offsets", asks=when_true)
"""vLLM's members of chat and completions."""

_IN_MODEL = "Write the adapter's name in 'model'."
_OLLAMA = "It is Ollama's: write its members by their OpenAI names, such as 'max_tokens'."

OTHERS = (
    translated("guided_json", constraints.to("guided_json", "json"), "structured_outputs")
    | translated("guided_regex", constraints.to("guided_regex", "regex"), "structured_outputs")
    | translated("guided_choice", constraints.to("guided_choice", "choice"), "structured_outputs")
    | translated(
        "guided_grammar", constraints.to("guided_grammar", "grammar"), "structured_outputs"
    )
    | translated("grammar", constraints.to("grammar", "grammar"), "structured_outputs")
    | translated("ebnf", constraints.to("ebnf", "grammar"), "structured_outputs")
    | translated("regex", constraints.to("regex", "regex"), "structured_outputs")
    | translated("json_schema", constraints.to("json_schema", "json"), "structured_outputs")
    | translated("format", constraints.format_of_ollama, "structured_outputs")
    | translated(
        "repeat_penalty",
        sampling.renamed("repeat_penalty", "repetition_penalty"),
        "repetition_penalty",
    )
    | refused(_IN_MODEL, "adapter_id", "adapter_source", "lora", "lora_path", "lora_request")
    | refused(_OLLAMA, "options")
    | refused(
        "It is an argument of OpenAI's client: write its members beside the others.",
        "extra_body",
        "extra_headers",
        "extra_query",
    )
    | ignored(
        "It chooses how another server computes, not what.",
        "cache_prompt",
        "guided_decoding_backend",
        "id_slot",
        "keep_alive",
    )
)
"""Spellings of other servers: vLLM before 0.12, SGLang, llama.cpp, Ollama, LoRAX."""


def lengths(into: str) -> dict[str, Member]:
    """Return the table of other servers' names for the most tokens of an answer."""
    found: dict[str, Member] = {}
    for name in ("max_new_tokens", "n_predict", "num_predict"):
        found |= translated(name, sampling.renamed(name, into), into)
    return found


def above_n(value: object, body: Body) -> bool:
    """Return whether ``best_of`` asks for more answers than ``n``."""
    return bool(value != body.get("n", 1))
