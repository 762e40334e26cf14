"""What is measured: one module for each family of goals, their thresholds and verdicts."""
