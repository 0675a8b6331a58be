"""What people ask beyond the pipeline."""
