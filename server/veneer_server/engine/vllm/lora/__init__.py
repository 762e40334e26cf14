"""LoRA on CPU: the op, its kernel, its slots and loads."""
