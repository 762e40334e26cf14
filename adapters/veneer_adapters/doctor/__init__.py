"""Whether an adapter would load, what to change, and a repaired copy."""
