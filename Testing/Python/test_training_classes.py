"""Training with classes: labels that move with the CT, runs of every recipe, and what they export."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from training_inputs import TINY, prepared, tiny, write_cts
from trunk import trunk
from xrecon.benchmark.methods import reconstruction_recipes
from xrecon.io.image import write_volume
from xrecon.io.segmentation import read_segmentation
from xrecon.nets.registry import load_card, load_model
from xrecon.physics.drr import render_drrs
from xrecon.physics.geometry import ViewGeometry
from xrecon.pipelines import reconstruct
from xrecon.training.config import GridConfig, SegmentationConfig, make_config
from xrecon.training.datasets import ProjectedPairs
from xrecon.training.labels import dice_by_name, file_classes, label_center, mean_dice, to_label_target
from xrecon.training.prepared import prepare_subject
from xrecon.training.recipes_papers import PAPER_RECIPES
from xrecon.training.run import PREPARED_NAME, require_network, train
from xrecon.training.subjects import find_subjects
from xrecon.volume import InputError, Quantity

TINY_OPTIONS = {
    "sit": {"width": 4},
    "psr": {"width": 4},
    "e2e": {"widths": [4, 8, 8]},
    "bx2s-net": {"widths": [4, 8, 8]},
    "x2ct-cnn": {"base_channels": 4, "dense_layers": [1, 1]},
    "x2ct-gan": {"base_channels": 4, "dense_layers": [1, 1]},
    "x-ctrsnet": {"features": 2, "width": 0.5, "segmenter_options": {"width": 2, "convs": 1}},
    "ear": {"widths": [4, 8]},
    "unet3d": {"widths": [4, 4, 8]},
    "mulsisnet": {"width": 2, "convs": 1},
}


def tiny_recipe(recipe, **changes):
    """A recipe at the size of `training_inputs.TINY`, two steps."""
    options = TINY_OPTIONS[PAPER_RECIPES[recipe]["architecture"]]
    discriminator = PAPER_RECIPES[recipe].get("discriminator", {})
    return tiny(
        recipe,
        **{
            "options": options,
            "discriminator": {**discriminator, "base_channels": 2} if discriminator else {},
            "pneumothorax_variants": 0,
            "steps": 2,
            "sample_every_epochs": 0,
            "validate_every": 100,
            **changes,
        },
    )


@pytest.fixture(scope="module")
def cts(tmp_path_factory):
    return write_cts(tmp_path_factory.mktemp("cts"))


@pytest.fixture(scope="module")
def made(cts, tmp_path_factory):
    """The CTs of `cts`, prepared once for all runs."""
    folder = tmp_path_factory.mktemp("made") / PREPARED_NAME
    for subject in find_subjects(cts):
        prepare_subject(subject, tiny_recipe("x-ctrsnet"), folder)
    return folder


def spine_labels(ct, value=7):
    """The trunk's spine as a label map: its only bone."""
    bone = (ct.array > 250) & (np.arange(ct.shape[0])[:, None, None] > 20)
    return ct.with_array((value * bone).astype(np.uint8), Quantity.LABEL)


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """Two CTs with label maps, named in subjects.csv."""
    folder, rows = tmp_path_factory.mktemp("labelled"), ["path,patient,labels"]
    for i in range(2):
        write_volume(trunk(seed=i), folder / f"ct{i}.nrrd")
        write_volume(spine_labels(trunk(seed=i)), folder / f"spine{i}.nrrd")
        rows.append(f"ct{i}.nrrd,P{i},spine{i}.nrrd")
    (folder / "subjects.csv").write_text("\n".join(rows))
    return folder


# -- labels --------------------------------------------------------------------------------------
def test_each_voxel_takes_the_class_that_fills_most_of_it():
    grid = GridConfig(side=2, spacing_mm=2.0, source_side=6, source_spacing_mm=1.0)
    classes = torch.zeros(6, 6, 6, dtype=torch.uint8)
    classes[1:3, 1:3, 1:3] = 2  # the first voxel: half of it becomes class 1
    classes[1, 1:3, 1:3] = 1
    classes[1, 1, 1] = 2
    classes[3:5, 3:5, 4] = 3  # half of the last voxel: a tie goes to the smaller class
    target = to_label_target(classes, grid)
    assert target.shape == (1, 2, 2, 2) and target.dtype == torch.int64
    assert target[0, 0, 0, 0] == 2 and target[0, 1, 1, 1] == 0 and int((target > 0).sum()) == 1
    classes[4, 4, 3] = 3
    assert to_label_target(classes, grid)[0, 1, 1, 1] == 3


def test_label_maps_become_classes_in_the_order_of_their_names():
    labels = spine_labels(trunk())
    settings = SegmentationConfig(source="files", labels={"other": (3, 4), "spine": (7, 8)})
    classes = file_classes(labels, settings)
    assert np.array_equal(classes.array == 2, labels.array == 7) and classes.array.max() == 2
    inside = labels.index_to_world(np.argwhere(labels.array)[:, ::-1])
    middle = (inside.min(axis=0) + inside.max(axis=0)) / 2
    np.testing.assert_allclose(label_center(classes), middle)
    with pytest.raises(InputError, match=r"expected labels out of .*C1.*found \[0, 7\]"):
        file_classes(labels, SegmentationConfig(source="files", labels={"C1": (1,)}))
    with pytest.raises(InputError, match="expected a label map"):
        file_classes(trunk(), settings)


def test_dice_of_a_class_that_is_nowhere_is_left_out_of_the_mean():
    found, truth = np.array([[[0, 1, 1, 0]]]), np.array([[[0, 1, 0, 0]]])
    rows = [dice_by_name(found, truth, ("a b", "c")), dice_by_name(truth, truth, ("a b", "c"))]
    means = mean_dice(rows)
    assert means["dice_a_b"] == pytest.approx((2 / 3 + 1) / 2) and np.isnan(means["dice_c"])


def test_classes_move_with_the_ct_under_augmentation(cts, made):
    config = tiny_recipe("x-ctrsnet")
    pairs = ProjectedPairs(prepared(cts, config, made), config)
    still = pairs.reference(0)
    for item in range(3):
        batch = pairs.sample([item])
        assert batch.labels.shape == (1, 16, 16, 16) and set(batch.labels.unique().tolist()) == {0, 1, 2}
        lung = batch.target[:, 0][batch.labels > 0]
        assert lung.mean() < 0.25 < batch.target[0, 0, 6:10, 6:10, 6:10].max()
        columns = [torch.argwhere(batch.labels[0] == side)[:, 2].float().mean() for side in (1, 2)]
        assert columns[0] + 2 < columns[1]  # the right lung lies at smaller x
        assert not torch.equal(batch.labels, still.labels)
    without = ProjectedPairs(prepared(cts, config, made), tiny("lifting"))
    assert without.sample([0]).labels is None


def test_labels_of_a_file_stand_in_the_middle_of_the_prepared_cube(labelled, tmp_path):
    settings = {"source": "files", "labels": {"spine": [7]}}
    config = tiny_recipe("ear-vertebrae", **{"segmentation.labels": settings["labels"]})
    subject = find_subjects(labelled)[0]
    hu, classes = prepare_subject(subject, config, tmp_path).variants[0]
    assert set(np.unique(classes)) == {0, 1} and hu[classes == 1].mean() > 200
    box = np.argwhere(classes)
    middle = (box.min(axis=0) + box.max(axis=0)) / 2
    np.testing.assert_allclose(middle, (classes.shape[0] - 1) / 2, atol=1.5)
    # the same names in another order are other classes, not the stored ones
    for order, expected in ((("spine", "other"), 1), (("other", "spine"), 2)):
        named = {name: {"spine": [7], "other": [9]}[name] for name in order}
        ordered = tiny_recipe("ear-vertebrae", **{"segmentation.labels": named})
        _, classes = prepare_subject(subject, ordered, tmp_path).variants[0]
        assert classes.max() == expected
    # other values make another subject
    other = tiny_recipe("ear-vertebrae", **{"segmentation.labels": {"spine": [8]}})
    with pytest.raises(InputError, match="expected labels"):
        prepare_subject(subject, other, tmp_path)


# -- runs ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("recipe", [r for r in PAPER_RECIPES if r not in ("ear-vertebrae", "x-ctrsnet")])
def test_every_recipe_trains_and_exports_a_model(recipe, cts, made, tmp_path):
    shutil.copytree(made, tmp_path / PREPARED_NAME)
    quality = train(cts, tmp_path, tiny_recipe(recipe))
    network, card = load_model(tmp_path / "model")
    assert card.architecture == PAPER_RECIPES[recipe]["architecture"]
    if PAPER_RECIPES[recipe].get("task") == "segmentation":
        assert card.output.labels == ["background", "right lung", "left lung"]
        assert set(quality) == {"dice_right_lung", "dice_left_lung"} and card.input.kind == "cube"
        assert network(torch.rand(1, 1, 16, 16, 16)).shape == (1, 3, 16, 16, 16)
    else:
        assert np.isfinite(quality["psnr"]) and card.output.labels == []


@pytest.fixture(scope="module")
def joint(cts, made, tmp_path_factory):
    """A run of X-CTRSNet: its folder and its quality."""
    folder = tmp_path_factory.mktemp("joint")
    shutil.copytree(made, folder / PREPARED_NAME)
    return folder, train(cts, folder, tiny_recipe("x-ctrsnet", validate_every=2))


def test_reconstruction_and_segmentation_are_trained_together(joint):
    folder, quality = joint
    assert {"psnr", "dice_right_lung", "dice_left_lung"} <= set(quality)
    header = (folder / "log.csv").read_text().splitlines()[0].split(",")
    assert {"absolute", "perceptual", "classes", "consistency", "validation_dice_left_lung"} <= set(header)
    card = load_card(folder / "model")
    assert card.output.labels == ["background", "right lung", "left lung"] and card.options["classes"] == 3


def test_a_model_with_classes_gives_a_volume_and_a_segmentation(joint, tmp_path):
    from xrecon import commands
    from xrecon.io.radiograph import write_radiograph

    model = joint[0] / "model"
    ct = trunk(seed=4)
    center = tuple(ct.center)
    views = [
        ViewGeometry.preset(v, shape=(48, 48), pixel_spacing=(9.0, 9.0), isocenter=center)
        for v in ("PA", "LEFT LATERAL")
    ]
    radiographs = render_drrs(ct, views)
    result = reconstruct(radiographs, model)
    assert result.labels.same_grid(result.volume) and result.labels.quantity is Quantity.LABEL
    assert result.label_names == ("right lung", "left lung")
    network, _ = load_model(model)
    assert result.labels.array.max() <= 2 and hasattr(network, "reconstruct_and_segment")
    for radiograph, name in zip(radiographs, ("pa", "lateral"), strict=True):
        write_radiograph(radiograph, tmp_path / f"{name}.nrrd")
    outcome = commands.reconstruct(
        tmp_path / "pa.nrrd",
        tmp_path / "lateral.nrrd",
        tmp_path / "out",
        str(model),
        "cpu",
        commands.RadiographOptions(),
        lambda *_: None,
        force=True,  # a cartoon of a chest is none to the view classifier
    )
    labels, segments = read_segmentation(outcome.files["segmentation"])
    assert [(s.label, s.name) for s in segments] == [(1, "right lung"), (2, "left lung")]
    assert segments[0].color != segments[1].color and outcome.numbers["labels"] == {
        "right lung": 1,
        "left lung": 2,
    }
    np.testing.assert_array_equal(labels.array, result.labels.array)


def test_vertebrae_of_files_are_trained_with_their_occupancy(labelled, tmp_path):
    config = tiny_recipe("ear-vertebrae", **{"segmentation.labels": {"vertebra": [7]}})
    quality = train(labelled, tmp_path, config)
    card = load_card(tmp_path / "model")
    assert card.output.labels == ["background", "vertebra"] and "dice_vertebra" in quality


# -- refusals ------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("recipe", "changes", "message"),
    [
        ("ear", {"geometry.views": ["LEFT LATERAL", "PA"]}, r"takes frontal \+ lateral, got LEFT LATERAL"),
        ("x2ct-cnn", {"geometry.views": ["LEFT LATERAL"]}, r"frontal; or frontal \+ lateral"),
        ("sit", {"geometry.views": ["PA", "LEFT LATERAL", "AP"]}, r"frontal; or frontal \+ lateral"),
        ("x2ct-gan", {"geometry.views": ["PA"]}, "loss.adversarial"),
        ("ear", {"loss.consistency": 1.0}, "has no segmenter"),
        ("e2e", {"loss.classes": 1.0}, "'e2e' has none"),
        ("ear", {"options": {"widths": [4, 8], "classes": 2}}, "options.classes"),
        ("sit", {"task": "segmentation"}, "segmentation"),
        ("unet3d", {"task": "reconstruction"}, "unet3d"),
        ("unet3d", {"options": {"classes": 5}}, "3 classes"),
    ],
)
def test_settings_that_a_network_cannot_have_are_refused(recipe, changes, message):
    with pytest.raises(InputError, match=message):
        require_network(tiny_recipe(recipe, **changes))


def test_a_single_view_can_be_trained_where_the_method_has_one():
    require_network(tiny_recipe("sit", **{"geometry.views": ["PA"]}))
    require_network(tiny_recipe("x2ct-cnn", **{"geometry.views": ["AP"]}))


def test_recipes_fit_their_networks():
    """The recipes as they are, made without weights."""
    for recipe in PAPER_RECIPES:
        require_network(make_config(recipe))
    assert TINY["grid.side"] == "16"


def test_recipes_that_need_label_maps_or_make_no_volume_are_not_benchmarked():
    compared = reconstruction_recipes()
    assert {"x-ctrsnet", "ear", "x2ct-gan"} <= set(compared)
    assert not {"ear-vertebrae", "unet3d", "mulsisnet", "lungs"} & set(compared)


def test_label_maps_that_are_missing_are_named(labelled, tmp_path):
    (tmp_path / "subjects.csv").write_text(f"path,labels\n{labelled / 'ct0.nrrd'},none.nrrd\n")
    with pytest.raises(InputError, match=r"column 'labels' of .*subjects.csv line 2"):
        find_subjects(tmp_path)
    (tmp_path / "subjects.csv").write_text(f"path\n{labelled / 'ct0.nrrd'}\n")
    config = tiny_recipe("ear-vertebrae", **{"segmentation.labels": {"vertebra": [7]}})
    with pytest.raises(InputError, match="expected a label map in column 'labels'"):
        prepare_subject(find_subjects(tmp_path)[0], config, tmp_path / "made")
