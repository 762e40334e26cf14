"""Verified adapters on disk, addressed by what they contain."""
