"""What the two files of an adapter say, and whether the adapter can be served."""
