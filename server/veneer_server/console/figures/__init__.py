"""What the metrics say, read in this process: no Prometheus is needed."""
