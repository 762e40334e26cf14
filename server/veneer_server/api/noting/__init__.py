"""What routes note of a request beside its answer: who answers it, and what it changes."""
