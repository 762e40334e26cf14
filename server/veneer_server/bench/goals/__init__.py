"""The goals: one module for each family of measurements, the thresholds, and the verdicts."""
