"""The vLLM engine: the only package of the server that imports vllm, torch or transformers."""
