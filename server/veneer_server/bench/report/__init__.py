"""The results for people, logs and programs, and the conditions of the run."""
