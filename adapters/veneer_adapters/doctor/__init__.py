"""Would an adapter load, what to change, and a repaired copy."""
