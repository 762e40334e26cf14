"""Answers in the official shapes: the engine's documents and events, converted."""
