"""Which adapters are in the engine's slots, who holds them, and what must be true of them first."""
