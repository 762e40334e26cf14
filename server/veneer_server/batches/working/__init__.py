"""What works on a batch, from its first line to its files of answers."""
