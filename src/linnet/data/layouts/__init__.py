"""How raw data lies on disk."""
