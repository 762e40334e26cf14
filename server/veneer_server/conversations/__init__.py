"""What the server keeps between requests: responses, conversations, and runs in the background."""
