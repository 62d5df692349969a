"""Networks of a fixed pair of views: what lies on the patient's left must come out on the left."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from nets_inputs import NAMES, sample, tiny_network
from xrecon.nets.biplanar import (
    FRONTAL,
    LATERAL,
    PAIR,
    require_views,
    spread,
    superior_pictures,
    to_volume,
    unfold_depth,
)
from xrecon.physics.geometry import ViewGeometry
from xrecon.physics.projector import Projector
from xrecon.preprocess.radiograph import canonical
from xrecon.volume import InputError, Quantity, Radiograph

SIDE = 32
# Voxels (z, y, x) of a chiral set of beads: no mirror image or rotation of it is the same.
BEADS = ((27, 6, 24), (25, 20, 9), (5, 25, 27))


def bead_pictures(lateral="LEFT LATERAL", frontal="PA"):
    """Radiographs of each bead, (bead, view, row, column), in the layout that networks get, and the
    voxels of a cube of 320 mm in which they lie."""
    pixels = {"shape": (SIDE, SIDE), "pixel_spacing": (12.0, 12.0)}
    views = [ViewGeometry.preset(name, **pixels) for name in (frontal, lateral)]
    projector = Projector(views, (SIDE,) * 3, (10.0,) * 3)
    pictures = []
    for bead in BEADS:
        cube = torch.zeros(1, 1, SIDE, SIDE, SIDE)
        cube[(0, 0, *bead)] = 1.0
        seen = projector(cube)[0].numpy()
        as_read = [
            Radiograph(picture, geometry=view, view=name, quantity=Quantity.LINE_INTEGRAL)
            for picture, view, name in zip(seen, views, (frontal, lateral), strict=True)
        ]
        pictures.append(np.stack([canonical(r).array for r in as_read]))
    return torch.as_tensor(np.stack(pictures))


@pytest.mark.parametrize(
    ("frontal", "lateral"), [("PA", "LEFT LATERAL"), ("AP", "RIGHT LATERAL")], ids=lambda v: v
)
def test_rays_of_both_pictures_meet_where_the_bead_lies(frontal, lateral):
    pictures = bead_pictures(lateral, frontal)
    views = superior_pictures(pictures, SIDE, PAIR[0])
    meeting = spread(views[0], FRONTAL, SIDE) * spread(views[1], LATERAL, SIDE)
    for found, bead in zip(meeting[:, 0], BEADS, strict=True):
        peak = np.unravel_index(int(found.argmax()), found.shape)
        # the cone beam magnifies: by half a voxel or more away from the middle, never to the other side
        assert np.abs(np.subtract(peak, bead)).max() <= 2, (peak, bead)


def test_channels_become_the_depth_of_their_view():
    features = torch.arange(2.0 * 3 * 4 * 5).reshape(1, 6, 4, 5)
    frontal, lateral = (unfold_depth(features, 3, kind) for kind in PAIR[0])
    assert frontal.shape == (1, 2, 4, 3, 5) and lateral.shape == (1, 2, 4, 5, 3)
    # channel 1 at depth 2 is channel 1 * 3 + 2
    assert frontal[0, 1, 3, 2, 4] == lateral[0, 1, 3, 4, 2] == features[0, 5, 3, 4]
    repeated = spread(features, LATERAL, 7)
    assert repeated.shape == (1, 6, 4, 5, 7) and torch.equal(repeated[..., 0], repeated[..., 6])
    assert torch.equal(to_volume(features[:, :, None], FRONTAL)[:, :, :, 0], features)


def test_another_number_of_views_is_refused_with_what_can_be_taken():
    with pytest.raises(InputError, match=r"frontal \+ lateral"):
        superior_pictures(torch.rand(1, 1, 8, 8), 8, PAIR[0])
    with pytest.raises(InputError, match=r"frontal \+ lateral for ear, got 4 views"):
        require_views(4, PAIR, "ear")


# Both pictures are channels of one 2D network there: columns of the lateral cannot follow y.
FRONTAL_FRAME = ("sit", "psr")


# Networks that look along the true rays, and X-Recon, have tests of their own for this.
FIXED = [n for n in NAMES if hasattr(tiny_network(n), "view_sets") and n != "x-recon"]


@pytest.mark.parametrize("name", FIXED)
def test_each_voxel_listens_to_its_own_place_in_the_pictures(name):
    """How far the slope of a voxel's value reaches into the pictures, voxel against mirrored voxel."""
    network = tiny_network(name, seed=2).eval()
    for parameter in network.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    pictures, matrices = sample(network)
    side = network.side
    near, far = side // 8, side - 1 - side // 8
    home = {"z": far, "y": near, "x": near}
    here = _listening(network, pictures, matrices, home)
    for axis, other in (("z", near), ("y", far), ("x", far)):
        there = _listening(network, pictures, matrices, {**home, axis: other})
        if axis == "z":  # the superior voxel listens to smaller rows
            assert here["frontal row"] < there["frontal row"]
            assert here["lateral row"] < there["lateral row"]
        elif axis == "x":
            assert here["frontal column"] < there["frontal column"]
        elif name not in FRONTAL_FRAME:
            assert here["lateral column"] < there["lateral column"]


def _listening(network, pictures, matrices, voxel):
    """Mean row and column of each picture, weighed by the squared slope of the voxels about `voxel`."""
    pictures = pictures.clone().requires_grad_(True)
    part = tuple(slice(voxel[axis] - 1, voxel[axis] + 2) for axis in "zyx")
    network(pictures, matrices)[(0, 0, *part)].sum().backward()
    places = {}
    for view, slope in zip(PAIR[0], pictures.grad[0].square(), strict=False):
        for axis, across in (("row", 1), ("column", 0)):
            weights = slope.sum(dim=across)
            index = torch.arange(len(weights), dtype=weights.dtype)
            places[f"{view} {axis}"] = float((weights * index).sum() / weights.sum())
    return places
