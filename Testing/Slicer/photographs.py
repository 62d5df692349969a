"""The main states of the panels: tests photograph each, and Resources/Screenshots keeps a picture of each.

    photograph(widget, "PTXSeg-batch")      # test-output/screenshots/PTXSeg-batch.png, not blank

The kept pictures show real runs with the bundled models and are remade by `make_screenshots.py`, which
stamps each with `fingerprint` of its panel: a test tells when a panel has changed since.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import slicerhost
import used_names
from PIL import Image

SCREENSHOTS = Path(__file__).resolve().parents[2] / "Resources" / "Screenshots"
WIDTH = 480
STAMP = "panel"  # of a text in the PNG file
STATES = (
    "XReconSlicer", "XReconSlicer-warning", "XReconSlicer-views", "XReconSlicer-running",
    "PTXSeg", "PTXSeg-advanced", "PTXSeg-reference", "PTXSeg-batch", "PTXSeg-comparison",
    "XReconTrainer", "XReconTrainer-training", "XReconTrainer-evaluated",
)  # fmt: skip
# The user interface files of a module beside its own.
MORE_FILES = {"XReconSlicer": ("RadiographView.ui",)}
FEWEST_COLORS, LEAST_DEVIATION = 24, 8.0


def photograph(widget: object, state: str) -> Path:
    """Saves the panel as it is now; raises AssertionError when there is next to nothing in the picture."""
    assert state in STATES
    path = slicerhost.screenshot(widget.parent, state, WIDTH)
    requireContent(path)
    return path


def requireContent(path: Path) -> tuple[int, int]:
    """Width and height of a picture that shows something."""
    pixels = np.asarray(Image.open(path).convert("RGB"))
    colors = np.unique(pixels[::2, ::2].reshape(-1, 3), axis=0)
    grey = pixels.mean(axis=2)
    assert len(colors) >= FEWEST_COLORS and grey.std() >= LEAST_DEVIATION, f"{path.name} is blank"
    # a panel that was cut off or never laid out has one colour in its lower half
    assert grey[grey.shape[0] // 2 :].std() >= LEAST_DEVIATION / 2, f"{path.name} is half empty"
    return pixels.shape[1], pixels.shape[0]


def moduleOf(state: str) -> str:
    return state.partition("-")[0]


def fingerprint(module: str) -> str:
    """What changes when a widget or a text of the module's panel does."""
    names = (f"{module}.ui", *MORE_FILES.get(module, ()))
    shown = []
    for path in sorted(path for path in used_names.uiFiles() if path.name in names):
        for widget in ElementTree.parse(path).getroot().iter("widget"):
            texts = [
                p.findtext("string") or ""
                for p in widget.findall("property")
                if p.get("name") in ("text", "title", "suffix", "prefix")
            ]
            shown.append((widget.get("class"), widget.get("name"), *texts))
    assert len(shown) > 20
    return hashlib.sha256(repr(shown).encode()).hexdigest()[:16]
