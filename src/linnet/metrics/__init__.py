"""How far samples are from real examples, and restorations from clean ones: arrays in, scores out."""
