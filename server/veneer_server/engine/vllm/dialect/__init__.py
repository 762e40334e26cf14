"""Where vLLM says or does something else than OpenAI and Anthropic do."""
