"""How vLLM renders and tokenizes texts here: in two threads, and no more than it must."""
