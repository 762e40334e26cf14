"""A client reads no advice for whoever starts vLLM."""

import pytest

from veneer_server.engine.vllm.dialect.wording import for_clients

CASES = [
    ("Too many: 9. Set max_logprobs (--max-logprobs) to at least 9.", "Too many: 9."),
    ("n must be at most 5. To increase this limit, set the VLLM_MAX_N_SEQUENCES variable.",
     "n must be at most 5."),
    ("thinking_token_budget is set but reasoning_config is not configured. Please set "
     "--reasoning-parser and/or --reasoning-config to use thinking_token_budget.",
     "This model does not think before it answers, so it takes no budget for that."),
    ('"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set',
     "This server does not know how this model writes tool calls, so it takes no tools."),
    ("As of transformers v4.44, default chat template is no longer allowed, so you must provide a "
     "chat template if the tokenizer does not define one.",
     "This model has no chat template, so it takes no messages; ask it at /v1/completions."),
    ("You must set `--enable-prompt-embeds` to input `prompt_embeds`.",
     "This server takes no embeddings in a prompt."),
    ("None are specified: {'json': None, 'regex': None}", "None are specified."),
    ("Start it with --foo.", "This server is not set up for what the request asks for."),
    ("A dash -- like this -- is no flag; nor is pre--fix.",
     "A dash -- like this -- is no flag; nor is pre--fix."),
]  # fmt: skip


@pytest.mark.parametrize(("said", "shown"), CASES)
def test_a_sentence_about_a_flag_is_left_out(said: str, shown: str) -> None:
    assert for_clients(said) == shown
