"""Verified adapters on disk, addressed by the digest of their content."""
