"""Vertebrae as subjects of their own, and a spine put together from reconstructions of each."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny_models
import torch
from cli_inputs import xrecon
from rotations import rotation_matrix
from xrecon.io.image import read_volume, write_volume
from xrecon.io.radiograph import write_radiograph
from xrecon.io.segmentation import read_segmentation
from xrecon.nets.lifting import sample_along_rays, voxel_centers
from xrecon.nets.registry import create_model, register_model, save_model
from xrecon.physics.drr import render_drrs
from xrecon.physics.geometry import ViewGeometry
from xrecon.pipelines import Reconstruction
from xrecon.training.subjects import find_subjects, split_subjects
from xrecon.training.vertebrae import VERSE_NAMES, find_vertebrae, read_names, write_vertebrae
from xrecon.vertebrae import compose, read_centers, reconstruct_spine
from xrecon.volume import InputError, Quantity, Volume


def spine(direction=None):
    """Four blocks along z on an anisotropic grid: L3 cut by the border, L2, L1, and a crumb called T12."""
    labels = np.zeros((40, 21, 27), dtype=np.uint8)
    labels[0:8, 6:14, 8:18] = 22
    labels[10:18, 6:14, 9:19] = 21
    labels[20:28, 7:15, 8:20] = 20
    labels[34:35, 8:9, 9:10] = 19
    labels[2:5, 16:18, 2:4] = 99  # no vertebra
    return Volume(
        labels, (3.0, 2.5, 2.0), (-10.0, 20.0, 30.0), np.eye(3) if direction is None else direction, "label"
    )


# -- from labels to subjects ---------------------------------------------------------------------
@pytest.mark.parametrize(
    "direction", [np.eye(3), rotation_matrix((1.0, 2.0, 0.5), 20.0)], ids=["lps", "oblique"]
)
def test_complete_vertebrae_are_found_with_their_middle_and_neighbours(direction):
    labels, notes = spine(direction), []
    found = find_vertebrae(labels, VERSE_NAMES, field_mm=48.0, notes=notes)
    assert [v.name for v in found] == ["L1", "L2"]
    assert sorted(notes) == ["L3: cut by the border of the CT", "T12: only 0.0 ml"]
    second = found[1]
    middle = labels.index_to_world(np.array([13.5, 9.5, 13.5]))
    np.testing.assert_allclose(second.center, middle)
    assert second.volume_ml == pytest.approx(8 * 8 * 10 * 15 / 1000)
    # values at the same places in space as in the whole map; 1 is this vertebra, 2 any other
    part = second.labels
    index = np.stack(np.meshgrid(*[np.arange(n) for n in part.shape], indexing="ij"), axis=-1)
    world = part.index_to_world(index[..., ::-1].reshape(-1, 3))
    whole = np.rint(labels.world_to_index(world)).astype(int)[:, ::-1]
    values = labels.array[tuple(whole.T)].reshape(part.shape)
    assert np.array_equal(part.array == 1, values == 21)
    assert np.array_equal(part.array == 2, np.isin(values, [19, 20, 22])) and (part.array == 2).any()


def test_label_maps_without_vertebrae_are_refused():
    with pytest.raises(InputError, match=r"expected labels of vertebrae .* found \[0, 19, 20, 21, 22, 99\]"):
        find_vertebrae(spine(), {1: "C1"}, 48.0)
    with pytest.raises(InputError, match="expected a label map"):
        find_vertebrae(replace(spine(), quantity=Quantity.HU), VERSE_NAMES, 48.0)


def test_names_come_from_a_table_of_structures(tmp_path):
    table = tmp_path / "structures.csv"
    table.write_text("group,original_idx,structure,id\norgans,1,spleen,1\nvertebrae,8,vertebrae_T12,32\n")
    assert read_names(table) == {32: "T12"}
    table.write_text("structure\nvertebrae_T12\n")
    with pytest.raises(InputError, match="columns id and structure"):
        read_names(table)


@pytest.mark.parametrize(
    ("reader", "text"),
    [(read_names, "structure,id\nvertebrae_T12,32\n"), (read_centers, "name,x,y,z\nL1,1,2,3\n")],
)
def test_tables_in_another_encoding_are_refused_by_their_name(reader, text, tmp_path):
    table = tmp_path / "table.csv"
    table.write_text(text, encoding="utf-8-sig")  # as spreadsheets save "CSV UTF-8"
    assert list(reader(table).values()) in (["T12"], [(1.0, 2.0, 3.0)])
    table.write_text(text, encoding="utf-16")  # as they save "Unicode text"
    with pytest.raises(InputError, match=r"table\.csv in UTF-8"):
        reader(table)


@pytest.mark.parametrize("value", ["nan", "-inf"])
def test_a_middle_that_is_not_finite_is_refused_by_its_name(value, tmp_path):
    table = tmp_path / "centers.csv"
    table.write_text(f"name,x,y,z\nL1,1,2,3\nL2,4,{value},6\n")
    with pytest.raises(InputError, match=rf"finite.*'L2' in .*centers\.csv, got .*{value}"):
        read_centers(table)


def test_a_short_row_is_bad_input(tmp_path):
    table = tmp_path / "structures.csv"
    table.write_text("id,structure\n32\n")
    with pytest.raises(InputError, match="columns id and structure"):
        read_names(table)


def test_vertebrae_without_a_command_show_their_help(capfd):
    code, out, err = xrecon(capfd, "vertebrae")
    assert code == 0 and not err
    assert "prepare" in out and "reconstruct" in out


def test_vertebrae_of_a_patient_stay_together(tmp_path, capfd):
    data, output = tmp_path / "data", tmp_path / "out"
    rows = ["path,patient,split,labels,licence"]
    for number, patient in enumerate(("A", "A", "B", "C")):
        ct = spine().with_array(np.full(spine().shape, 40 + number, np.int16), Quantity.HU)
        write_volume(ct, data / f"ct{number}.nrrd")
        write_volume(spine(), data / f"labels{number}.nrrd")
        rows.append(f"ct{number}.nrrd,{patient},,labels{number}.nrrd,CC0")
    (data / "subjects.csv").write_text("\n".join(rows))
    code, out, _ = xrecon(
        capfd, "vertebrae", "prepare", "--data", data, "--output", output, "--progress", "json"
    )
    assert code == 0 and "ct3_L2" in out
    subjects = find_subjects(output)
    assert [s.name for s in subjects][:2] == ["ct0_L1", "ct0_L2"] and len(subjects) == 8
    assert {s.licence for s in subjects} == {"CC0"} and all(s.path.is_file() for s in subjects)
    from xrecon.training.config import make_config

    for seed in range(4):
        splits = split_subjects(subjects, make_config("ear-vertebrae", None, {"seed": seed}))
        patients = [{s.patient for s in subjects if s.name in splits[k]} for k in ("train", "validation")]
        assert not patients[0] & patients[1] and patients[1]
    with (output / "vertebrae.csv").open() as stream:
        first = next(csv.DictReader(stream))
    assert first["ct"] == "ct0" and first["name"] == "L1"
    centers = read_centers(output / "vertebrae.csv", "ct0")
    np.testing.assert_allclose(centers["L2"], spine().index_to_world(np.array([13.5, 9.5, 13.5])), atol=0.01)
    with pytest.raises(InputError, match="--ct-name"):
        read_centers(output / "vertebrae.csv")


def test_nothing_is_left_behind_when_no_vertebra_is_found(tmp_path):
    write_volume(spine().with_array(np.full(spine().shape, 40, np.int16), Quantity.HU), tmp_path / "ct.nrrd")
    (tmp_path / "subjects.csv").write_text("path\nct.nrrd\n")
    with pytest.raises(InputError, match="no label map"):
        write_vertebrae(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_vertebrae_of_a_real_ct(data_dir):
    labels = read_volume(data_dir / "lidc_0001_totalseg118.nii.gz", Quantity.LABEL)
    names = read_names(data_dir / "lidc_0001_structures.csv")
    found = find_vertebrae(labels, names, 96.0, notes := [])
    order = [v.name for v in found]
    assert len(found) >= 9 and order == sorted(order, key=lambda n: ("CTL".index(n[0]), int(n[1:])))
    heights = -np.diff([v.center[2] for v in found])
    assert (heights > 12).all() and (heights < 45).all(), (order, heights, notes)
    assert all(5 < v.volume_ml < 120 for v in found)


# -- from reconstructions to a spine -------------------------------------------------------------
@register_model("test-vertebra")
class DenseClass(torch.nn.Module):
    """Back-projection, and what is dense in it and near the middle as the class of the vertebra."""

    def __init__(self, side: int = 16, field_mm: float = 64.0) -> None:
        super().__init__()
        self.side, self.field_mm, self.classes = side, field_mm, 2
        self.register_buffer("scale", torch.ones(1))

    def forward(self, pictures, matrices):
        points = voxel_centers(self.side, self.field_mm, pictures.device)
        views = range(pictures.shape[1])
        lifted = [
            sample_along_rays(pictures[:, i : i + 1], matrices[:, i], points, tuple(pictures.shape[2:]))
            for i in views
        ]
        return self.scale * torch.stack(lifted).amin(dim=0)

    def reconstruct_and_segment(self, pictures, matrices):
        volume = self.forward(pictures, matrices)
        points = voxel_centers(self.side, self.field_mm, pictures.device)
        near = (points.norm(dim=-1) < 20.0).to(volume.dtype)
        inside = (volume - 0.5) * near - 0.01 * (1 - near)
        return volume, torch.cat([torch.zeros_like(inside), inside], dim=1)


def save_dense(folder: Path) -> Path:
    """A model folder of `DenseClass` that sees 64 mm."""
    options = {"side": 16, "field_mm": 64.0}
    card = tiny_models.card("test-vertebra", options, 16, 4.0)
    output = card.output.model_copy(update={"labels": ["background", "vertebra"]})
    narrow = card.input.model_copy(update={"shape": (48, 48), "pixel_spacing": (1.6, 1.6)})
    save_model(
        folder,
        create_model("test-vertebra", **options),
        card.model_copy(update={"output": output, "input": narrow}),
    )
    return folder


BALLS = {"T11": (-20.0, 30.0, 45.0), "T12": (-14.0, 36.0, 8.0), "L1": (-5.0, 42.0, -30.0)}


def test_each_vertebra_comes_out_where_it_lies(tmp_path, capfd):
    """Balls of bone off the isocentre, in none of the mirrored places."""
    shape, spacing = (90, 80, 70), 2.0
    grid = Volume(
        np.zeros(shape, np.float32), (spacing,) * 3, tuple(-(n - 1) * spacing / 2 for n in shape[::-1])
    )
    index = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), axis=-1)[..., ::-1]
    world = grid.index_to_world(index)
    hu = np.zeros(shape, np.float32)
    for center in BALLS.values():
        hu[np.linalg.norm(world - center, axis=-1) < 10.0] = 1200.0
    views = [
        ViewGeometry.preset(v, shape=(220, 220), pixel_spacing=(1.2, 1.2)) for v in ("PA", "LEFT LATERAL")
    ]
    radiographs = render_drrs(grid.with_array(hu), views)
    model = save_dense(tmp_path / "model")
    result = reconstruct_spine(radiographs, model, BALLS)
    assert result.names == tuple(BALLS) and result.labels.same_grid(result.volume)
    for number, center in enumerate(BALLS.values(), start=1):
        points = result.labels.index_to_world(np.argwhere(result.labels.array == number)[:, ::-1])
        np.testing.assert_allclose(points.mean(axis=0), center, atol=3.0)
    # the same through files and the command line
    for radiograph, name in zip(radiographs, ("pa", "lateral"), strict=True):
        write_radiograph(radiograph, tmp_path / f"{name}.nrrd")
    lines = ["name,x,y,z", *(f"{name},{x},{y},{z}" for name, (x, y, z) in BALLS.items())]
    (tmp_path / "centers.csv").write_text("\n".join(lines))
    files = ["--pa", tmp_path / "pa.nrrd", "--lateral", tmp_path / "lateral.nrrd", "--model", model]
    more = ["--centers", tmp_path / "centers.csv", "--output", tmp_path / "out", "--device", "cpu"]
    code, _, err = xrecon(capfd, "vertebrae", "reconstruct", *files, *more)
    assert code == 0, err
    labels, segments = read_segmentation(tmp_path / "out" / "spine.seg.nrrd")
    assert [s.name for s in segments] == list(BALLS)
    np.testing.assert_array_equal(labels.array, result.labels.array)
    plain = tiny_models.save_backprojection(tmp_path / "plain")
    with pytest.raises(InputError, match="gives none"):
        reconstruct_spine(radiographs, plain, BALLS)
    with pytest.raises(InputError, match="got none"):
        reconstruct_spine(radiographs, model, {})


def part(center, value, claims):
    """A reconstruction of a cube of 16 mm with one value, in which the class fills some columns."""
    origin = tuple(np.array(center) - 7.0)
    volume = Volume(np.full((8, 8, 8), value, np.float32), (2.0,) * 3, origin)
    classes = np.zeros((8, 8, 8), np.uint8)
    classes[..., claims] = 1
    labels = volume.with_array(classes, Quantity.LABEL)
    return Reconstruction(volume, [], [], {}, "test", "cpu", labels=labels, label_names=("vertebra",))


def test_overlapping_claims_go_to_the_nearer_middle_and_the_rest_is_the_mean():
    left, right = part((0.0, 0.0, 0.0), 100.0, slice(2, 8)), part((8.0, 0.0, 0.0), 300.0, slice(0, 5))
    result = compose({"a": left, "b": right}, ["a warning"])
    assert result.volume.shape == (8, 8, 12) and result.volume.origin == pytest.approx((-7, -7, -7))
    row, labels = result.volume.array[4, 4], result.labels.array[4, 4]
    # columns 0 to 7 belong to a, 4 to 11 to b; both claim 4 to 7, split in the middle
    assert labels.tolist() == [0, 0, 1, 1, 1, 1, 2, 2, 2, 0, 0, 0]
    assert row.tolist() == [100.0] * 6 + [300.0] * 6
    assert result.warnings == ["a warning"]
    nobody = compose(
        {"a": part((0.0, 0.0, 0.0), 100.0, slice(0, 0)), "b": part((8.0, 0.0, 0.0), 300.0, slice(0, 0))}
    )
    assert nobody.volume.array[4, 4].tolist() == [100.0] * 4 + [200.0] * 4 + [300.0] * 4
    assert nobody.warnings == [f"{n}: the model found no vertebra there" for n in "ab"]
