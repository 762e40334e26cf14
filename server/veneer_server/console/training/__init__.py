"""Fine-tuning jobs: the queue, one job as it learns, and the form that starts one."""
