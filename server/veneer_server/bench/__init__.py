"""Measures the goals G1-G12, for this server and its peers on the same machine."""
