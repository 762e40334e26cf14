"""LoRA on a CPU: the op, its kernel, its slots and its loads."""
