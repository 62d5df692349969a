"""Configuration, datasets, losses and the training engine."""
