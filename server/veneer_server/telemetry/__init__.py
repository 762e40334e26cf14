"""Every metric, span and log line."""
