"""Base models: which can be served, why one cannot, and what its family needs."""
