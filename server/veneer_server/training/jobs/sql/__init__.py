"""The tables of fine-tuning jobs and the statements on them."""
