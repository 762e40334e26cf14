"""Every adapter: the table, the page of one, and what can be done with it."""
