"""Lungs: classical masks, sides that never swap, unions, and the way to a network's grid and back."""

from __future__ import annotations

import json

import numpy as np
import pytest
from ptx_chest import (
    BODY,
    LEFT_LUNG,
    OBLIQUE,
    RIGHT_LUNG,
    Grid,
    chest,
    dice,
    ellipsoid_ml,
    inside,
    points,
    reordered,
)
from xrecon.nets.card import SliceInput
from xrecon.pneumothorax import lungs_network
from xrecon.pneumothorax.lungs import (
    classical_lungs,
    given_lungs,
    segment_lungs,
    split_left_right,
    unite_lungs,
)
from xrecon.pneumothorax.lungs_network import clean_sides, labels_on_grid, slices_to_network
from xrecon.volume import InputError, Quantity, Volume

GRIDS = {"isotropic": Grid(), "oblique": OBLIQUE, "thick": Grid((31, 97, 121), (8.0, 2.9, 3.1))}
CARD_INPUT = SliceInput(shape=(96, 96), spacing_mm=4.0, hu_window=(-1024.0, 600.0))


# -- classical -----------------------------------------------------------------------------------
@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_classical_lungs_of_a_known_chest(grid):
    hu, lungs, _ = chest(grid, "r", noise=20.0, table=True, airway=True)
    found = classical_lungs(hu)
    assert found.quantity is Quantity.LABEL and found.array.dtype == np.uint8 and found.same_grid(hu)
    assert "fallback" in found.meta["lungs_note"]
    for label, shape in ((1, RIGHT_LUNG), (2, LEFT_LUNG)):
        assert dice(found.array == label, lungs.array == label) > 0.97
        volume_ml = (found.array == label).sum() * hu.voxel_ml
        assert volume_ml == pytest.approx(ellipsoid_ml(shape[1]), rel=0.05)
    assert not ((found.array == 1) & (lungs.array == 2)).any()


def test_fine_grids_are_worked_on_in_blocks_and_refined():
    hu, lungs, _ = chest(Grid((35, 35, 360), (7.0, 8.0, 1.0)))
    found = classical_lungs(hu).array

    def edges(labels: np.ndarray) -> np.ndarray:
        return np.diff((labels > 0).astype(int), axis=2) != 0

    assert dice(found > 0, lungs.array > 0) > 0.97
    assert dice(edges(found), edges(lungs.array)) > 0.9  # to the voxel of 1 mm, not the block of 2


def test_very_coarse_voxels_are_no_hindrance():
    hu, lungs, _ = chest(Grid((31, 29, 33), (8.0, 9.0, 11.0)), noise=10.0)
    found = classical_lungs(hu)
    for label in (1, 2):
        assert dice(found.array == label, lungs.array == label) > 0.95


def test_the_trachea_is_not_lung():
    hu, lungs, _ = chest(airway=True)
    found = classical_lungs(hu)
    where = points(hu)
    trachea = (where[..., 0] ** 2 + (where[..., 1] - 10.0) ** 2 < 9.0**2) & (where[..., 2] > 20.0)
    assert trachea.sum() > 50 and not (found.array[trachea] > 0).any()


@pytest.mark.parametrize(
    ("axes", "flips"), [((0, 1, 2), (2,)), ((0, 1, 2), (0, 1, 2)), ((2, 0, 1), (1,)), ((1, 2, 0), ())]
)
def test_sides_do_not_depend_on_storage(axes, flips):
    hu, _, _ = chest(OBLIQUE, "l", noise=10.0, airway=True)
    expected = reordered(classical_lungs(hu), axes, flips)
    np.testing.assert_array_equal(classical_lungs(reordered(hu, axes, flips)).array, expected.array)


def test_a_mirror_image_swaps_the_sides():
    hu, _, _ = chest()
    mirrored = hu.with_array(hu.array[:, :, ::-1])
    right_ml = (classical_lungs(mirrored).array == 1).sum() * hu.voxel_ml
    assert right_ml == pytest.approx(ellipsoid_ml(LEFT_LUNG[1]), rel=0.05)


@pytest.mark.parametrize("grid", [Grid(), OBLIQUE], ids=["isotropic", "oblique"])
def test_touching_lungs_are_cut_where_they_are_thin(grid):
    hu, lungs, _ = chest(grid)
    where = points(hu)
    bridge = np.all(np.abs(where + np.array([0.0, 20.0, 0.0])) < [35.0, 14.0, 30.0], axis=-1)
    joined = np.where(bridge & (hu.array > 0), -850.0, hu.array)
    found = classical_lungs(hu.with_array(joined))
    for label in (1, 2):
        assert dice(found.array == label, lungs.array == label) > 0.95
    assert not ((found.array == 1) & (lungs.array == 2)).any()


def test_vessels_and_nodules_belong_to_the_lung():
    hu, lungs, _ = chest()
    where = points(hu)
    nodule = inside(where, ((-76.0, 0.0, 30.0), (15.0, 15.0, 15.0)))
    vessel = (np.abs(where[..., 1]) < 5.0) & (np.abs(where[..., 2]) < 5.0) & (where[..., 0] < 0)
    array = np.where((nodule | vessel) & (lungs.array == 1), 40.0, hu.array)
    found = classical_lungs(hu.with_array(array)).array == 1
    assert found[nodule].all() and dice(found, lungs.array == 1) > 0.97


def test_bowel_gas_and_air_beside_the_arm_are_not_lungs():
    hu, lungs, _ = chest()
    where = points(hu)
    array = np.array(hu.array)
    array[inside(where, ((70.0, -40.0, -108.0), (28.0, 28.0, 9.0)))] = -1000.0
    found = classical_lungs(hu.with_array(array))
    assert dice(found.array > 0, lungs.array > 0) > 0.97


def test_no_lungs_no_body_no_hu_are_refused():
    hu, lungs, _ = chest()
    with pytest.raises(InputError, match="lungs"):
        classical_lungs(hu.with_array(np.maximum(hu.array, 0.0)))
    with pytest.raises(InputError, match="tissue"):
        classical_lungs(hu.with_array(np.full(hu.shape, -1000.0)))
    with pytest.raises(InputError, match="HU"):
        classical_lungs(lungs)


# -- unions and sides ----------------------------------------------------------------------------
def labels_of(values):
    return Volume(np.array(values, np.uint8).reshape(1, 1, -1), (1.0, 1.0, 1.0), quantity=Quantity.LABEL)


def test_union_takes_the_side_most_masks_say():
    masks = [labels_of(v) for v in ([0, 1, 1, 1, 0, 2], [0, 0, 2, 2, 2, 0], [0, 0, 0, 2, 0, 1])]
    assert unite_lungs(masks).array.ravel().tolist() == [0, 1, 1, 2, 2, 2]
    assert unite_lungs(masks[:1]).array.ravel().tolist() == [0, 1, 1, 1, 0, 2]
    with pytest.raises(InputError, match="at least one"):
        unite_lungs([])
    with pytest.raises(InputError, match="grid"):
        unite_lungs([masks[0], masks[1].moved((5.0, 0.0, 0.0))])


@pytest.mark.parametrize("grid", [Grid(), OBLIQUE], ids=["isotropic", "oblique"])
@pytest.mark.parametrize("with_ct", [True, False])
def test_splitting_keeps_every_voxel(grid, with_ct):
    hu, lungs, _ = chest(grid)
    array = (lungs.array > 0).astype(np.uint8)
    speck = inside(points(hu), ((20.0, 60.0, 0.0), (8.0, 8.0, 8.0)))
    array[speck] = 1
    mask = lungs.with_array(array)
    found = split_left_right(mask, hu if with_ct else None)
    np.testing.assert_array_equal(found.array > 0, array > 0)
    np.testing.assert_array_equal(found.array[lungs.array > 0], lungs.array[lungs.array > 0])
    assert (found.array[speck] == 2).all()  # nearer to the left lung


def test_one_lung_is_told_by_the_body():
    hu, lungs, _ = chest()
    for label in (1, 2):
        alone = lungs.with_array((lungs.array == label).astype(np.uint8))
        assert np.unique(split_left_right(alone, hu).array).tolist() == [0, label]


def test_a_given_mask_of_one_label_is_split_when_it_holds_both_lungs():
    hu, lungs, _ = chest()
    for label in (1, 2):
        one = lungs.with_array(np.where(lungs.array > 0, label, 0).astype(np.uint8))
        found = given_lungs(one, hu)
        np.testing.assert_array_equal(found.array, lungs.array)
        assert "by position" in found.meta["lungs_note"]
        alone = lungs.with_array(np.where(lungs.array == 1, label, 0).astype(np.uint8))
        np.testing.assert_array_equal(given_lungs(alone, hu).array, alone.array)  # the label says the side
    assert given_lungs(lungs, hu) is lungs
    speck = lungs.with_array((np.arange(lungs.array.size) == 5).reshape(lungs.shape).astype(np.uint8))
    assert given_lungs(speck, hu) is speck
    with pytest.raises(InputError, match="labels"):
        given_lungs(lungs.with_array(lungs.array * 3), hu)


# -- networks ------------------------------------------------------------------------------------
def test_slices_lie_along_the_patient_and_hold_hu():
    for grid in (Grid(), OBLIQUE):
        hu, lungs, _ = chest(grid)
        slices = slices_to_network(hu, CARD_INPUT)
        assert slices.shape[1:] == (96, 96) and slices.spacing == (4.0, 4.0, 4.0)
        np.testing.assert_array_equal(slices.direction, np.eye(3))
        where = points(slices)
        truth = inside(where, RIGHT_LUNG) | inside(where, LEFT_LUNG)
        unit = (np.array([-850.0, 40.0]) + 1024.0) / 1624.0
        middle = ((where[..., :2] / np.array(BODY)) ** 2).sum(-1) < 0.8
        middle &= np.abs(where[..., 2]) < 60.0
        assert np.median(slices.array[truth]) == pytest.approx(unit[0], abs=0.002)
        assert dice((slices.array < unit.mean()) & middle, truth & middle) > 0.97
        assert slices.array.dtype == np.float32 and 0.0 <= slices.array.min() <= slices.array.max() <= 1.0


@pytest.mark.parametrize("slab_voxels", [8_000_000, 20_000])
def test_the_way_back_is_linear_and_in_place(monkeypatch, slab_voxels):
    """A plane of equal probability, in LPS, cuts any grid where it should: to a fraction of a voxel."""
    monkeypatch.setattr(lungs_network, "SLAB_VOXELS", slab_voxels)
    reference = OBLIQUE.volume()
    z, y, x = np.indices((60, 80, 90))
    grid = Volume(np.zeros((60, 80, 90), np.float32), (5.0, 5.0, 5.0)).moved((-222.5, -197.5, -147.5))
    left = 1.0 / (1.0 + np.exp(-(points(grid)[..., 0] - 13.0) / 10.0))
    probabilities = np.stack([np.zeros_like(left), 1.0 - left, left])
    labels = labels_on_grid(probabilities, grid, reference)
    where = points(reference)
    covered = (np.abs(grid.world_to_index(where) - 0.5 * (np.array([90, 80, 60]) - 1)) < [44, 39, 29]).all(-1)
    certain = covered & (np.abs(where[..., 0] - 13.0) > 0.2)
    np.testing.assert_array_equal(labels[certain], np.where(where[..., 0] > 13.0, 2, 1)[certain])
    far = reference.moved((1000.0, 0.0, 0.0))
    assert not labels_on_grid(probabilities, grid, far).any()


def test_one_piece_per_lung_and_patches_of_the_wrong_side_are_absorbed():
    labels = np.zeros((9, 12, 22), np.uint8)
    labels[1:8, 1:11, 1:9] = 1
    labels[1:8, 1:11, 12:20] = 2
    labels[4:6, 4:6, 3:5] = 2  # inside the right lung
    labels[3, 3, 15] = 0  # a hole in the left
    expected = labels.copy()
    expected[4:6, 4:6, 3:5], expected[3, 3, 15] = 1, 2
    labels[0, 0, 21] = 1  # a speck far from its lung
    np.testing.assert_array_equal(clean_sides(labels), expected)
    assert not clean_sides(np.zeros((2, 3, 4), np.uint8)).any()


@pytest.fixture
def toy_model(tmp_path):
    """A model folder whose network calls dark voxels lung: right in the left half of the picture."""
    import torch
    from xrecon.nets.card import LabelOutput, ModelCard
    from xrecon.nets.registry import register_model, save_model

    class Toy(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.limit = torch.nn.Parameter(torch.tensor((-400.0 + 1024.0) / 1624.0))

        def forward(self, slices):
            columns = torch.arange(slices.shape[-1]).expand_as(slices)
            rows = torch.arange(slices.shape[-2])[:, None].expand_as(slices)
            middle = slices.shape[-1] / 2 - 0.5
            # an ellipse keeps the air outside the body out
            near = ((columns - middle) / 34.0) ** 2 + ((rows - middle) / 22.0) ** 2 < 1.0
            lung = torch.sigmoid((self.limit - slices) * 40.0) * near
            right = lung * (columns < middle)
            probabilities = torch.cat([1.0 - lung, right, lung - right], dim=1)
            return probabilities.clamp(1e-6, 1.0).log()

    register_model("toy-lungs-of-this-test")(Toy) if "toy-lungs-of-this-test" not in _known() else None
    card = ModelCard(
        name="toy-lungs", title="toy", description="threshold", architecture="toy-lungs-of-this-test",
        input=CARD_INPUT, output=LabelOutput(labels=["background", "right lung", "left lung"]),
        licence="Apache-2.0", intended_use="tests", limitations="all", training_data=[],
    )  # fmt: skip
    save_model(tmp_path / "toy-lungs", Toy(), card, half=False)
    return tmp_path / "toy-lungs"


def _known():
    from xrecon.nets.registry import list_models

    return list_models()


@pytest.mark.parametrize("grid", [Grid(), OBLIQUE], ids=["isotropic", "oblique"])
def test_a_network_sees_the_patient_the_right_way_round(toy_model, grid):
    hu, lungs, _ = chest(grid, noise=10.0, table=True)
    told = []
    found = segment_lungs(hu, [toy_model], progress=lambda stage, share, _: told.append((stage, share)))
    assert found.same_grid(hu) and found.meta["lungs"] == "toy-lungs"
    for label in (1, 2):
        assert dice(found.array == label, lungs.array == label) > 0.95
    assert told[-1] == ("lungs", 1.0) and [f for _, f in told] == sorted(f for _, f in told)
    moved = segment_lungs(reordered(hu, (2, 0, 1), (0, 2)), [toy_model, toy_model])
    again = reordered(found, (2, 0, 1), (0, 2)).array
    assert (moved.array != again).sum() <= 0.001 * (again > 0).sum()


def test_what_networks_keep_of_the_airways_is_taken_out(toy_model):
    hu, lungs, _ = chest(Grid((80, 88, 125), (3.0, 3.0, 3.0)), airway=True)
    pipe = (hu.array == -1000.0) & (lungs.array == 0)
    x, y, z = np.moveaxis(points(hu), -1, 0)
    pipe &= (x**2 + (y - 10.0) ** 2 < 9.0**2) & (z > 0.0) & (z < 60.0)
    kept = lungs_network.network_lungs(hu, toy_model, "cpu", lambda share, text: None).array
    found = segment_lungs(hu, [toy_model]).array
    assert pipe.sum() > 100 and (kept[pipe] > 0).mean() > 0.5
    assert not (found[pipe] > 0).any()
    for label in (1, 2):
        assert dice(found == label, lungs.array == label) > 0.95
    assert ((kept > 0) & (found == 0)).sum() < 0.05 * (kept > 0).sum()


def test_models_that_are_not_lung_models_are_refused(toy_model):
    hu, _, _ = chest()
    with pytest.raises(InputError, match="at least one"):
        segment_lungs(hu, [])
    card = json.loads((toy_model / "card.json").read_text())
    card["output"]["labels"] = ["background", "left lung", "right lung"]
    (toy_model / "card.json").write_text(json.dumps(card))
    with pytest.raises(InputError, match="right lung, left lung"):
        segment_lungs(hu, [toy_model])


# -- real images ---------------------------------------------------------------------------------
LOBES = {1: (12, 13, 14), 2: (10, 11)}  # ids in lidc_0001_structures.csv


@pytest.mark.slow
def test_a_real_ct_against_its_lobes(data_dir):
    """lidc_0001 with TotalSegmentator lobes (pseudo-labels): classical lungs, and PTX-Seg on a healthy CT."""
    from xrecon.io.image import read_volume
    from xrecon.pneumothorax.quantify import quantify
    from xrecon.pneumothorax.segment import PtxParameters, ptx_seg
    from xrecon.pneumothorax.synthesize import add_pneumothorax

    hu = read_volume(data_dir / "lidc_0001.nii.gz")
    lobes = read_volume(data_dir / "lidc_0001_totalseg118.nii.gz", Quantity.LABEL)
    truth = np.zeros(hu.shape, np.uint8)
    for label, ids in LOBES.items():
        truth[np.isin(lobes.array, ids)] = label
    found = classical_lungs(hu).array
    for label in (1, 2):
        assert dice(found == label, truth == label) > 0.975
    trachea = lobes.array == 16
    assert (found[trachea] > 0).mean() < 0.01
    lungs = hu.with_array(truth, Quantity.LABEL)
    quantities = quantify(ptx_seg(hu, lungs, PtxParameters()))
    # no pneumothorax here: what the paper's settings call air is noise and emphysema (reference figure)
    assert quantities.pneumothorax_ml == pytest.approx(28.0, abs=3.0)
    assert quantities.occupancy_percent < 1.0
    assert quantify(ptx_seg(hu, lungs)).pneumothorax_ml < 10.0
    # the same patient with 30 % synthetic pneumothorax; the reference mode loses the rim's partial volumes
    air, labels = add_pneumothorax(hu, lungs, "right", 0.3, seed=1)
    found = classical_lungs(air)
    for parameters, least, low, high in ((PtxParameters(), 0.85, 20.0, 30.0), (None, 0.93, 28.0, 32.0)):
        measured = ptx_seg(air, found, parameters)
        assert dice(measured.array == 3, labels.array == 3) > least
        assert low < quantify(measured).right_occupancy_percent < high
        assert quantify(measured).left_occupancy_percent < 1.0
