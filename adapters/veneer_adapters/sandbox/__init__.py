"""Processes that read untrusted files and are thrown away afterwards."""
