"""Networks by name: tensors in, tensors out."""
