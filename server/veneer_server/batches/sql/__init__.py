"""The table of batches and the statements on it."""
