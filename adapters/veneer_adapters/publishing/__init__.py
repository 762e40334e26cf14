"""From a source to a revision that serves."""
