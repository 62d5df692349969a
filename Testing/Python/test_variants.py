"""The synthetic copies of a training subject: what they are made of, and that every one has numbers."""

from __future__ import annotations

import numpy as np
import pytest
from ptx_chest import chest
from xrecon.pneumothorax.synthesize import add_pneumothorax
from xrecon.training.variants import FRACTIONS, planned


def test_copies_cover_sizes_sides_positions_and_kinds():
    plans = planned("somebody", ["right", "left"], 16)
    assert {p["side"] for p in plans} == {"right", "left"}
    assert {p["position"] for p in plans} == {"supine", "erect"}
    assert {"effusion", "loculated", "emphysema"} <= {key for p in plans for key in p}
    sizes = [p["fraction"] for p in plans]
    assert FRACTIONS[0] < min(sizes) < 0.08 and 0.65 < max(sizes) < FRACTIONS[1]
    assert len({p["seed"] for p in plans}) == 16


def test_one_lung_only_has_its_own_side_and_no_lung_no_copy():
    assert {p["side"] for p in planned("somebody", ["left"], 5)} == {"left"}
    assert planned("somebody", [], 5) == []


def test_plans_follow_from_the_name_alone():
    assert planned("a", ["right", "left"], 6) == planned("a", ["right", "left"], 6)
    assert planned("a", ["right", "left"], 6) != planned("b", ["right", "left"], 6)


@pytest.mark.parametrize("seed", [1, 14])
@pytest.mark.parametrize("place", ["apical", "basal"])
def test_large_loculated_air_leaves_a_number_in_every_voxel(place, seed):
    """A ray whose lung is pressed to nothing once divided by zero: HU that were no numbers."""
    hu, lungs, _ = chest()
    with np.errstate(all="raise", under="ignore"):
        ct, labels = add_pneumothorax(hu, lungs, "left", 0.5, "erect", seed, loculated=True, place=place)
    assert np.isfinite(ct.array).all()
    assert (labels.array == 4).any()
