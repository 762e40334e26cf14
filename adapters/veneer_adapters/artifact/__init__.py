"""What the two files of an adapter say, and whether they can be served."""
