"""What came out, for people, logs and programs, and under which conditions."""
