"""The training loop, on accelerate."""
