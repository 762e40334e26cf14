"""What lies in a watched folder, under which name, and when it is quiet."""
