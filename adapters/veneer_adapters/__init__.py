"""LoRA adapters as objects: named, verified, stored and loaded. No HTTP and no engine is here."""
