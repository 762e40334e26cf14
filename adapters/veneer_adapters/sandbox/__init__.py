"""Files of strangers are read in processes that are thrown away."""
