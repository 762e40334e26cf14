"""A running server's adapter routes, for the command line: calls, answers, tables."""
