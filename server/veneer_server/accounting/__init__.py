"""What was used: a row for each request, written in groups, and their sums."""
