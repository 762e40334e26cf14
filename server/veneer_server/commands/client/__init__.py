"""A running server's adapter routes, for the commands."""
