"""Several processes that read requests and write answers, for one server that makes them."""
