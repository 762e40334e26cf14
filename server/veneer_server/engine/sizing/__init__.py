"""How many sequences, slots and how much KV cache a server gets, from its device and its model."""
