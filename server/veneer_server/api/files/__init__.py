"""``/v1/files``: the routes, the form of an upload, and the shape of a file."""
