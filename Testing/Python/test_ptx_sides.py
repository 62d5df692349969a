"""Which side is whose: pieces of air about the middle, exchanged lung masks."""

from __future__ import annotations

import numpy as np
import pytest
from xrecon.physics.chest_phantom import chest_phantom
from xrecon.pipelines import segment
from xrecon.pneumothorax.robust_doubts import about_truncation
from xrecon.pneumothorax.segment import PtxParameters, RobustParameters, mode_of, parameters_of, ptx_seg
from xrecon.pneumothorax.sides import one_side_a_piece
from xrecon.volume import InputError, Volume


def test_a_piece_of_air_that_crosses_the_middle_has_one_side():
    labels = np.full((5, 7, 40), 1, np.uint8)
    labels[..., 20:] = 2
    air = np.zeros(labels.shape, bool)
    air[1, 2, 16:36] = True  # 4 of 20 voxels on the right
    air[3, 4:6, 2:9] = True  # another piece, wholly on the right
    one_side_a_piece(labels, air)
    assert (labels[1, 2, 16:36] == 2).all() and (labels[3, 4:6, 2:9] == 1).all()
    assert (labels[0, :, :20] == 1).all()  # where no air is, nothing changes


def test_two_pneumothoraces_that_touch_keep_their_sides():
    labels = np.full((5, 7, 40), 1, np.uint8)
    labels[..., 20:] = 2
    air = np.zeros(labels.shape, bool)
    air[2, 3, 8:35] = True  # 12 of 27 voxels on the right
    before = labels.copy()
    one_side_a_piece(labels, air)
    assert np.array_equal(labels, before)


@pytest.fixture(scope="module")
def phantom() -> object:
    """A chest with 700 ml of air on the left, some of it in front of the heart and beyond the middle."""
    return chest_phantom((4.0, 3.5, 3.7), pneumothorax_ml=700.0, side="left", noise_hu=5.0)


@pytest.mark.parametrize("parameters", [RobustParameters(), PtxParameters()], ids=mode_of)
@pytest.mark.parametrize("mask_has_air", [True, False])
def test_no_air_of_the_left_counts_on_the_right(phantom: object, parameters: object, mask_has_air: bool):
    truth = phantom.labels.array
    lungs = phantom.lungs
    if not mask_has_air:
        lungs = lungs.with_array(np.where(truth >= 3, 0, lungs.array).astype(np.uint8))
    found = ptx_seg(phantom.volume, lungs, parameters).array
    if mask_has_air or mode_of(parameters) == "robust":
        assert (found[truth == 4] == 4).mean() > 0.75
    assert not (found[truth == 4] == 3).any()


def test_lungs_with_right_and_left_exchanged_are_refused(phantom: object):
    exchanged = np.array([0, 2, 1], np.uint8)[phantom.lungs.array]
    with pytest.raises(InputError, match=r"label 1 on the patient's right.*mm to the left"):
        segment(phantom.volume, phantom.lungs.with_array(exchanged))
    # and so they are in any order of storage, while the right ones are taken
    for lungs, fine in ((phantom.lungs.array, True), (exchanged, False)):
        ct, mask = (_mirrored_storage(v) for v in (phantom.volume, phantom.lungs.with_array(lungs)))
        if fine:
            assert segment(ct, mask).quantities.left_pneumothorax_ml > 500.0
        else:
            with pytest.raises(InputError, match="exchange the labels"):
                segment(ct, mask)


def _mirrored_storage(volume: Volume) -> Volume:
    """The same patient, columns stored from left to right."""
    corner = volume.index_to_world(np.array([volume.shape[2] - 1, 0, 0]))
    return Volume(
        volume.array[:, :, ::-1], volume.spacing, tuple(corner), np.diag([-1.0, 1.0, 1.0]), volume.quantity
    )


def test_the_warning_of_cut_lungs_does_not_depend_on_the_shape_of_voxels():
    """A block of lung, 60 x 60 x 90 mm, that the scan cuts at the front over a face of 60 x 12 mm."""
    for spacing in ((1.0, 1.0, 1.0), (5.0, 0.75, 0.75), (0.6, 3.0, 2.0)):
        z, y, x = (round(length / s) for length, s in zip((60.0, 60.0, 90.0), spacing, strict=True))
        lungs = np.zeros((z + 4, y + 2, x + 4), bool)
        lungs[2:-2, 2:, 2:-2] = True
        lungs[2:-2, :2, 2 : 2 + round(12.0 / spacing[2])] = True
        told = about_truncation(lungs[:, :-1], spacing)
        assert told and "front and back" in told[0], spacing
    lungs[:, 0] = lungs[:, -1] = False
    assert about_truncation(lungs, spacing) == []


def test_settings_of_two_modes_are_told_apart():
    assert mode_of(parameters_of(None, {"t_p": -940.0})) == "reference"
    assert mode_of(parameters_of(None, {})) == "robust"
    with pytest.raises(InputError, match=r"t_p of the reference mode and minimum_air_ml of the robust mode"):
        parameters_of(None, {"t_p": -950.0, "minimum_air_ml": 3.0})
