"""Batches: how far each is, and the files of their answers."""
