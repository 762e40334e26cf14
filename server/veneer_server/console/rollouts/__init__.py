"""Aliases that share their requests between two revisions: how each does, and the next move."""
