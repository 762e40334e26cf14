"""The routes under /v1/adapters, and vLLM's own."""
