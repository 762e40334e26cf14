"""What a server says before it is ready."""
