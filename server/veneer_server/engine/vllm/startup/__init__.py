"""A start of the engine: the device, how far it is, and what is proved before it serves."""
