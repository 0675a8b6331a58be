"""What a trained model can do: load, sample, restore."""
