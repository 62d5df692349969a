"""Lungs, PTX-Seg, quantification and synthetic pneumothorax."""
