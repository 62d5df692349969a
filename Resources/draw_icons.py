"""Draws the icons of the extension and its modules: `python Resources/draw_icons.py` (needs PySide6).

One chest in four versions: two rays that make a cube (XRecon, XReconSlicer), air beside the lung
(PTXSeg), a learning curve (XReconTrainer).
"""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from PySide6.QtCore import QByteArray, Qt  # noqa: E402
from PySide6.QtGui import QGuiApplication, QImage, QPainter  # noqa: E402
from PySide6.QtSvg import QSvgRenderer  # noqa: E402

REPOSITORY = Path(__file__).resolve().parent.parent
SIDE = 128

NIGHT, BONE, LUNG, AIR, RAY = "#16324f", "#e8eef4", "#c5a591", "#0097ce", "#ffb000"
PLATE = f'<rect x="4" y="4" width="120" height="120" rx="22" fill="{NIGHT}"/>'
RIGHT_LUNG = "M57 34 C44 30 30 52 27 78 C25 94 30 100 40 96 C50 93 57 92 58 84 Z"
LEFT_LUNG = "M71 34 C84 30 98 52 101 78 C103 94 98 100 88 96 C80 93 72 88 71 76 Z"
ROUND = 'fill="none" stroke-linecap="round"'
TRACHEA = f'<path d="M64 22 V44 M64 44 L55 54 M64 44 L73 54" stroke="{BONE}" stroke-width="5" {ROUND}/>'
LUNGS = f'<path d="{RIGHT_LUNG}" fill="{LUNG}"/><path d="{LEFT_LUNG}" fill="{LUNG}"/>'

# The cube stands for the volume, the two beams for the radiographs it is computed from.
CUBE = (
    f'<g stroke="{BONE}" stroke-width="4" stroke-linejoin="round" fill="none">'
    f'<path d="M38 56 H92 V110 H38 Z"/><path d="M38 56 L56 40 H110 L92 56 M110 40 V94 L92 110"/></g>'
)
BEAMS = (
    f'<g fill="{RAY}"><path d="M72 16 L46 47 H100 Z M14 83 L36 58 V108 Z" opacity="0.55"/>'
    f'<circle cx="72" cy="16" r="6"/><circle cx="14" cy="83" r="6"/></g>'
)
LUNGS_IN_CUBE = f'<g transform="translate(29 50) scale(0.56)">{LUNGS}{TRACHEA}</g>'
AIR_CAP = (
    f'<clipPath id="left"><path d="{LEFT_LUNG}"/></clipPath>'
    f'<path d="{LEFT_LUNG}" fill="{AIR}"/>'
    f'<path d="M71 40 C80 44 88 58 89 76 C89 90 84 96 80 93 C75 90 72 84 71 76 Z" fill="{LUNG}"/>'
    f'<path d="{LEFT_LUNG}" fill="none" stroke="{AIR}" stroke-width="3"/>'
)
CURVE = (
    f'<path d="M24 26 V104 H106" stroke="{BONE}" stroke-width="5" {ROUND}/>'
    f'<path d="M30 38 C40 82 58 92 102 95" stroke="{RAY}" stroke-width="6" {ROUND}/>'
    f'<g transform="translate(38 12) scale(0.56)">{LUNGS}{TRACHEA}</g>'
)

ICONS = {
    "Resources/XRecon.png": PLATE + BEAMS + CUBE + LUNGS_IN_CUBE,
    "XReconSlicer/Resources/Icons/XReconSlicer.png": PLATE + BEAMS + CUBE + LUNGS_IN_CUBE,
    "PTXSeg/Resources/Icons/PTXSeg.png": PLATE + LUNGS + AIR_CAP + TRACHEA,
    "XReconTrainer/Resources/Icons/XReconTrainer.png": PLATE + CURVE,
}


def draw(svg: str, path: Path) -> None:
    """Renders the body of an SVG of 128 x 128 units into a PNG with transparency."""
    document = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {SIDE} {SIDE}">{svg}</svg>'
    image = QImage(SIDE, SIDE, QImage.Format.Format_ARGB32)
    image.fill(Qt.GlobalColor.transparent)
    painter = QPainter(image)
    QSvgRenderer(QByteArray(document.encode())).render(painter)
    painter.end()
    if not image.save(str(path)):
        raise OSError(f"cannot write {path}")


if __name__ == "__main__":
    application = QGuiApplication([])
    for name, body in ICONS.items():
        draw(body, REPOSITORY / name)
