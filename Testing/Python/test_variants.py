"""The synthetic copies of a training subject: what they are made of, and that every one has numbers."""

from __future__ import annotations

import numpy as np
import pytest
from ptx_chest import chest
from xrecon.pneumothorax.synthesize import add_pneumothorax
from xrecon.training import variants
from xrecon.training.variants import planned

SIZES, BOTH = (0.04, 0.72), ["right", "left"]


def test_copies_cover_sizes_sides_positions_and_kinds():
    plans = planned("somebody", BOTH, 16, SIZES, 0.1)
    assert {p["side"] for p in plans} == {"right", "left"}
    assert {p["position"] for p in plans} == {"supine", "erect"}
    assert {"effusion", "loculated", "emphysema"} <= {key for p in plans for key in p}
    sizes = [p["fraction"] for p in plans]
    assert SIZES[0] < min(sizes) < 0.08 and 0.65 < max(sizes) < SIZES[1]
    assert len({p["seed"] for p in plans}) == 16
    assert not any("effusion" in p for p in planned("somebody", BOTH, 16, SIZES, 0.0))


def test_of_four_copies_three_have_a_form_of_their_own_each():
    forms = ("effusion", "loculated", "emphysema")
    plans = planned("somebody", BOTH, 16, SIZES, 0.1)
    for first in range(0, 16, 4):
        found = [[form for form in forms if form in plan] for plan in plans[first : first + 4]]
        assert sorted(found) == [[], ["effusion"], ["emphysema"], ["loculated"]]
    assert "every fourth copy has" not in " ".join(variants.__doc__.split())


def test_one_lung_only_has_its_own_side_and_no_lung_no_copy():
    assert {p["side"] for p in planned("somebody", ["left"], 5, SIZES, 0.1)} == {"left"}
    assert planned("somebody", [], 5, SIZES, 0.1) == []


def test_plans_follow_from_the_name_alone():
    assert planned("a", BOTH, 6, SIZES, 0.1) == planned("a", BOTH, 6, SIZES, 0.1)
    assert planned("a", BOTH, 6, SIZES, 0.1) != planned("b", BOTH, 6, SIZES, 0.1)


@pytest.mark.parametrize("seed", [1, 14])
@pytest.mark.parametrize("place", ["apical", "basal"])
def test_large_loculated_air_leaves_a_number_in_every_voxel(place, seed):
    """A ray whose lung is pressed to nothing once divided by zero: HU that were no numbers."""
    hu, lungs, _ = chest()
    with np.errstate(all="raise", under="ignore"):
        ct, labels = add_pneumothorax(hu, lungs, "left", 0.5, "erect", seed, loculated=True, place=place)
    assert np.isfinite(ct.array).all()
    assert (labels.array == 4).any()
