"""Random requests, and what every answer to one must keep to."""
