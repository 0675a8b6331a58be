"""Raw data sets in, training batches out."""
