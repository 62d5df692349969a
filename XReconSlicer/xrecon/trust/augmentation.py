"""How far a network's output moves when its input changes by no more than what is not known of it.

The fallback for networks that predict no uncertainty: the same network on the same radiographs, several
times, each time with poses, grey scale and noise changed by what positioning and exposure usually leave
open, whether or not the training changed them so. The spread is no error: it knows nothing of what the
network always gets wrong. It becomes one by a calibration on subjects that the model was not trained on
(`evaluation.uncertainty_calibration`), and says "uncalibrated" without. Wang et al., Neurocomputing
2019;338:34-45, use it so for segmentation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from xrecon.volume import Radiograph

ProgressCallback = Callable[[str, float, str], None]

DEFAULT_SAMPLES = 8
# Standard deviations of the changes: each view's pose, and the picture in shares of its range.
ROTATION_DEG, SHIFT_MM, NOISE, GAMMA = 1.5, 3.0, 0.01, 0.1


def changed_inputs(inputs: Sequence[Radiograph], generator: np.random.Generator) -> list[Radiograph]:
    """The radiographs with a little less known pose, grey scale and noise; the same pixels."""
    from xrecon.physics.poses import rotation_from_angles
    from xrecon.preprocess.radiograph import normalize

    changed = []
    for radiograph in inputs:
        geometry = radiograph.geometry
        rotation = rotation_from_angles(tuple(generator.normal(0.0, ROTATION_DEG, 3)))
        center = np.array(geometry.isocenter)
        shift = center - rotation @ center + generator.normal(0.0, SHIFT_MM, 3)
        picture = normalize(radiograph.array)
        picture = np.clip(picture, 0.0, None) ** np.exp(generator.normal(0.0, GAMMA))
        picture = picture + generator.normal(0.0, NOISE, picture.shape).astype(np.float32)
        changed.append(replace(radiograph, array=picture, geometry=geometry.moved(rotation, shift)))
    return changed


def output_spread(
    model: str | Path,
    inputs: Sequence[Radiograph],
    isocenter: np.ndarray,
    unit: np.ndarray,
    device: str = "auto",
    samples: int = DEFAULT_SAMPLES,
    say: ProgressCallback | None = None,
    seed: int = 0,
) -> np.ndarray:
    """Root mean square of the outputs' differences from `unit`, the output for the inputs as they are.

    In network units (z, y, x), float32. Raises InputError as `inference.run_network` does.
    """
    from xrecon.inference import run_variants

    generator = np.random.default_rng(seed)
    variants = [changed_inputs(inputs, generator) for _ in range(samples)]
    outputs, _ = run_variants(model, variants, isocenter, device, say or (lambda *_: None))
    squares = np.zeros(unit.shape, dtype=np.float64)
    for output in outputs:
        squares += (np.clip(output[0], 0.0, 1.0) - np.clip(unit, 0.0, 1.0)) ** 2
    return np.sqrt(squares / len(outputs)).astype(np.float32)
