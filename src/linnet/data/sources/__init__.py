"""Sources of raw data: HTTP downloads, archives, the Hugging Face hub, DVC repositories."""
