"""What turns decoded examples into feature vectors, one extractor a file; `build_extractor` makes them."""
