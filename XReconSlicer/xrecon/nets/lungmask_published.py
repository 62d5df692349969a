"""The files of weights that lungmask publishes, by name and checksum. Loads no torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """A file of weights that lungmask publishes; sha256 as far as it is known (its first digits)."""

    name: str
    file: str
    sha256: str
    classes: int


R231_SHA256 = "d5d2fc3df432115933491f115b283e94d1f5c841c0e82f6e7bd2d65d3ccde69f"
# torch's hub writes the first eight digits of the checksum into the file's name.
PUBLISHED = (
    Published("R231", "unet_r231-d5d2fc3d.pth", R231_SHA256, 3),
    Published("LTRCLobes", "unet_ltrclobes-3a07043d.pth", "3a07043d", 6),
    Published("R231CovidWeb", "unet_r231covid-0de78a7e.pth", "0de78a7e", 3),
)
RELEASE = "https://github.com/JoHof/lungmask/releases/tag/v0.0"
TERMS = (
    "lungmask's code is under Apache-2.0; check the terms of the weights and of their training data for your "
    "use."
)
