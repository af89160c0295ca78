"""Gene mathematics on arrays."""
