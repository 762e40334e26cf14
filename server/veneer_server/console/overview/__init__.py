"""The first page: is all well, in one look."""
