"""How canaries do compared with their baseline, and taking them back."""
