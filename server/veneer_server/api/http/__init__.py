"""One HTTP connection: what it may send, and when it is cut."""
