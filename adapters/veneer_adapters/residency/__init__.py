"""Which adapters are in the engine's slots, for how long, and on whose word."""
