"""Calls the adapter routes of a running server, for the commands."""
