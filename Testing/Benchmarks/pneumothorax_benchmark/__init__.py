"""The parts of the pneumothorax table: cases, how they are made, measured, kept and told."""
