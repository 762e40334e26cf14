"""Counts how the requests of canaries end, for the guards that take canaries back."""
