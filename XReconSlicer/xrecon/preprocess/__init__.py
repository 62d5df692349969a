"""Radiograph to network input; CT to training target."""
