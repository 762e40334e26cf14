"""``/v1/fine_tuning``: the routes, what a request may say, and the shape of a job."""
