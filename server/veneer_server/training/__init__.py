"""Making adapters: rows of a JSONL file, jobs, and the child process that trains."""
