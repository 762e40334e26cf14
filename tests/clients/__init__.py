"""Unmodified client libraries against this server: which, in which environment, and what fails."""
