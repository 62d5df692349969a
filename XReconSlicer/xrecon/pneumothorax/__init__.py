"""Lungs, PTX-Seg, quantification and synthetic pneumothorax."""

# The bundled lung networks that PTX-Seg unites unless told otherwise.
DEFAULT_LUNG_MODELS = ("lungs-unet", "lungs-unet-wide")
