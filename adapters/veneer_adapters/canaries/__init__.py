"""How canaries do, and taking them back."""
