"""Built-in data, made on this machine."""
