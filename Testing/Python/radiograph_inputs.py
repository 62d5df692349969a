"""Geometries and files of the radiograph tests."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image
from rotations import rotation_matrix
from xrecon.physics.geometry import VIEWS, ViewGeometry

SHAPE = (31, 37)


def geometries() -> dict[str, ViewGeometry]:
    """The presets off centre, an oblique view with non-square pixels, and a parallel beam."""
    options = {"shape": SHAPE, "isocenter": (3.25, -4.5, 1000.125), "source_to_detector_mm": 1723.4}
    presets = {view: ViewGeometry.preset(view, pixel_spacing=(1.1, 0.9), **options) for view in VIEWS}
    oblique = presets["PA"].moved(rotation_matrix((0.3, -0.2, 1.0), 33.0), (1.0, 2.0, 3.0))
    parallel = ViewGeometry.preset("AP", beam="parallel", **options)
    return {**presets, "": oblique, "parallel": parallel}


def save(array: np.ndarray, path: Path, sidecar: dict | None = None) -> Path:
    Image.fromarray(array).save(path)
    if sidecar is not None:
        path.with_suffix(".json").write_text(json.dumps(sidecar))
    return path
