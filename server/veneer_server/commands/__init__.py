"""The commands of ``veneer``."""
