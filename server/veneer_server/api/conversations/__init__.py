"""Responses with state, and conversations."""
