"""Where the artifacts of adapters come from."""
