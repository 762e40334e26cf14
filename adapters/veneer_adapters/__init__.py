"""LoRA adapters as objects: named, verified, stored, resident; no HTTP, no engine."""
