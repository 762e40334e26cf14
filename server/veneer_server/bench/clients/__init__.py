"""The clients that send the requests; each is a process of its own."""
