"""Signal processing of audio that several packages need."""
