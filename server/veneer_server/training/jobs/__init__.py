"""Fine-tuning jobs: what is asked, its rows in SQL, the queue, and the process that trains."""
