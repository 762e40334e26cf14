"""``/v1/batches``: the routes, the shape of a batch, and how its lines are answered."""
