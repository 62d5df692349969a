"""CTs made ready for training, once.

A prepared subject is the CT without its table on a cube along the LPS axes centred on the lungs,
with lung labels and, on request, variants with a synthetic pneumothorax. It is stored beside the
run as a compressed array, so that a resumed run starts at once.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xrecon.io.atomic import atomic_path
from xrecon.io.image import read_volume
from xrecon.pneumothorax.lungs import classical_lungs
from xrecon.pneumothorax.synthesize import add_pneumothorax
from xrecon.preprocess.ct import AIR_HU, lung_center, remove_table, resample
from xrecon.training.config import TrainConfig
from xrecon.training.subjects import MANIFEST_NAME, Subject
from xrecon.volume import InputError, Quantity, Volume

MIN_LUNG_ML = 50.0
Progress = Callable[[str, float, str], None]


@dataclass(frozen=True)
class Prepared:
    """A subject ready for sampling: variants[i] is (HU int16, labels uint8), both (z, y, x) cubes.

    Variant 0 is the patient as scanned, the others have a synthetic pneumothorax. Labels are 1
    right lung, 2 left lung, 3 and 4 the pleural air of the right and left side.
    """

    subject: Subject
    variants: tuple[tuple[np.ndarray, np.ndarray], ...]


def _settings(subject: Subject, config: TrainConfig) -> dict[str, Any]:
    """What a stored subject was made from: another file of the same name is another CT."""
    grid = config.grid
    files = sorted(subject.path.glob("*")) if subject.path.is_dir() else [subject.path]
    return {
        "version": 1,
        "source": [[f.name, f.stat().st_size, f.stat().st_mtime_ns] for f in files],
        "side": grid.source_side,
        "spacing": grid.source_spacing_mm,
        "variants": config.pneumothorax_variants,
    }


def prepare_subject(
    subject: Subject, config: TrainConfig, folder: Path, progress: Progress | None = None
) -> Prepared:
    """The prepared subject, from `folder` when it was stored there with the same settings."""
    path = Path(folder) / f"{subject.name}.npz"
    settings = json.dumps(_settings(subject, config), sort_keys=True)
    if path.is_file():
        with np.load(path, allow_pickle=False) as stored:
            if str(stored["settings"]) == settings:
                return Prepared(subject, tuple(zip(stored["hu"], stored["labels"], strict=True)))
    if progress:
        progress("prepare", 0.0, subject.name)
    variants = _make_variants(subject, config)
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        np.savez_compressed(
            temporary,
            settings=np.array(settings),
            hu=np.stack([hu for hu, _ in variants]),
            labels=np.stack([labels for _, labels in variants]),
        )
    return Prepared(subject, variants)


def _make_variants(subject: Subject, config: TrainConfig) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    clean = remove_table(read_volume(subject.path).require_hounsfield(f"the CT {subject.path}"))
    side, spacing = config.grid.source_side, config.grid.source_spacing_mm
    cube = resample(clean, (side,) * 3, (spacing,) * 3, lung_center(clean), fill=AIR_HU)
    lungs = classical_lungs(cube)
    variants = [(cube, lungs)]
    sides = _sides_with_lung(lungs)
    if config.task == "lungs" and len(sides) < 2:
        raise InputError(
            f"expected both lungs to learn from in {subject.path}, found {sides or 'none'}: leave the CT out "
            f"with the split 'exclude' in {MANIFEST_NAME}"
        )
    first_side = zlib.crc32(subject.name.encode())
    for number in range(config.pneumothorax_variants if sides else 0):
        # sizes spread from small to large; sides alternate, starting by the subject's name
        fraction = 0.1 + 0.5 * (number + 0.5) / config.pneumothorax_variants
        position = ("supine", "erect")[number % 2]
        side_name = sides[(number + first_side) % len(sides)]
        variants.append(add_pneumothorax(cube, lungs, side_name, fraction, position=position, seed=number))
    return tuple(
        (np.clip(np.rint(hu.array), -1024, 3071).astype(np.int16), _labels(labels)) for hu, labels in variants
    )


def _sides_with_lung(lungs: Volume) -> list[str]:
    """The sides with enough lung for a pneumothorax: not every patient has two lungs."""
    least = MIN_LUNG_ML / lungs.voxel_ml
    return [name for label, name in ((1, "right"), (2, "left")) if (lungs.array == label).sum() >= least]


def _labels(labels: Volume) -> np.ndarray:
    if labels.quantity is not Quantity.LABEL:
        raise InputError(f"expected lung labels, got a volume of {labels.quantity.value}")
    return labels.array.astype(np.uint8)
