"""SiVAE as users hold it."""
