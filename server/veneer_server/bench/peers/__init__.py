"""The servers that are compared, as processes, and the models and adapters that they serve."""
