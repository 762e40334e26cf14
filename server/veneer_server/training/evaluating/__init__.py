"""What a checkpoint is worth: its loss and its answers on held-out rows, and what follows. Pure."""
