"""Who is compared: servers as processes, and what they are given to serve."""
