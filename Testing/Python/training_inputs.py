"""Runs small enough for tests: settings and CTs."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from trunk import trunk
from xrecon.io.image import write_volume
from xrecon.physics.drr import render_drrs
from xrecon.physics.geometry import ViewGeometry
from xrecon.training.checkpoint import CHECKPOINT
from xrecon.training.config import TrainConfig, make_config
from xrecon.training.datasets import Batch, PairSource
from xrecon.training.prepared import MemoryCache, PreparedSubjects
from xrecon.training.runlog import LOG
from xrecon.training.store import Store, open_store
from xrecon.training.subjects import find_subjects

TINY = {
    "steps": "6",
    "precision": "float32",
    "device": "cpu",
    "name": "tiny",
    "validate_every": "3",
    "checkpoint_every": "2",
    "pneumothorax_variants": "1",
    "grid.side": "16",
    "grid.spacing_mm": "20.0",
    "grid.source_side": "72",
    "grid.source_spacing_mm": "5.0",
    "grid.detector_pixels": "32",
    "grid.detector_spacing_mm": "13.0",
    "options": '{"view_widths": [4, 4, 8], "grid_widths": [4, 8, 8, 8]}',
}
# The smallest X-Recon, with all of its losses; without dropout it is the same in any process.
TINY_X_RECON = {
    **TINY,
    "options": '{"base_channels": 4, "dropout": 0.0}',
    "discriminator": '{"base_channels": 2}',
    "grid.side": "32",
    "grid.spacing_mm": "10.0",
    "pneumothorax_variants": "0",
}


def tiny(recipe: str = "lifting", **overrides: Any) -> TrainConfig:
    """A run of a few seconds."""
    return make_config(recipe, None, {**TINY, **overrides})


def write_cts(folder: Path) -> Path:
    """Three CTs and a label map that must not be taken for one."""
    for i, suffix in enumerate((".nii.gz", ".nrrd", ".mha")):
        write_volume(trunk(seed=i), folder / f"person{i}{suffix}")
    labels = trunk().with_array((trunk().array < -500).astype(np.uint8), "label")
    write_volume(labels, folder / "person0_lungs.nrrd")
    return folder


def prepared(data: Path, config: TrainConfig, folder: Path, gigabytes: float = 1.0) -> PreparedSubjects:
    """All CTs of a folder, prepared."""
    return PreparedSubjects(find_subjects(data), config, folder, MemoryCache(gigabytes * 1e9))


class OnePair:
    """A source that shows one subject as scanned, again and again."""

    def __init__(self, pairs: PairSource) -> None:
        self.subjects, self._batch = pairs.subjects, pairs.reference(0)

    def sample(self, items: Sequence[int]) -> Batch:
        """The one pair, whatever is asked for."""
        return self._batch

    def reference(self, index: int) -> Batch:
        """The one pair again."""
        return self._batch


def state(run: Path) -> dict[str, Any]:
    """The checkpoint of a run."""
    return torch.load(run / CHECKPOINT, weights_only=True)


def log_rows(run: Path) -> list[dict[str, str]]:
    """The rows of a run's log."""
    return list(csv.DictReader((run / LOG).open()))


def require_same_state(one: Any, other: Any, where: str = "state", **tolerance: float) -> None:
    """All tensors and numbers of two checkpoints alike; bit for bit without a tolerance."""
    if isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key, value in one.items():
            if key not in ("seconds", "config", "rows"):
                require_same_state(value, other[key], f"{where}.{key}", **tolerance)
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other), where
        for number, value in enumerate(one):
            require_same_state(value, other[number], f"{where}[{number}]", **tolerance)
    elif torch.is_tensor(one) and tolerance:
        torch.testing.assert_close(one, other, msg=lambda m: f"{where}: {m}", **tolerance)
    elif torch.is_tensor(one):
        assert torch.equal(one, other), where
    else:
        assert one == other, where


def write_store(path: Path, count: int = 3) -> Store:
    """Trunks with radiographs about a point that is not the middle of the CT."""
    store = open_store(path, create=True)
    for seed in range(count):
        volume = trunk(seed=seed)
        views = [
            ViewGeometry.preset(name, shape=(61, 67), pixel_spacing=(7.0, 6.5), isocenter=(4.0, -9.0, 6.0))
            for name in ("LEFT LATERAL", "PA")
        ]
        radiographs = render_drrs(volume, views, 65.0)
        about = {"source": f"person{seed}.nrrd", "source_sha256": f"{seed:064x}", "settings": {"seed": 0}}
        store.put(f"person{seed}", volume, radiographs, patient=f"P{seed}", **about)
    return store
