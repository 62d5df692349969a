"""Training data: who is in which split, what is left out, samples, the memory they take."""

import json

import numpy as np
import pytest
import torch
from training_inputs import prepared, tiny, write_cts, write_store
from trunk import trunk
from xrecon.io.image import write_volume
from xrecon.physics.geometry import ViewGeometry
from xrecon.preprocess.ct import resample
from xrecon.training.augment import add_scatter, degrade, mispositioned, random_warp, sample_cube
from xrecon.training.config import AugmentationConfig, ViewConfig
from xrecon.training.datasets import ProjectedPairs, mean_target
from xrecon.training.manifest import identify
from xrecon.training.order import Share, Shuffle
from xrecon.training.prepared import Prepared, prepare_subject
from xrecon.training.run import train
from xrecon.training.store import source_digest
from xrecon.training.stored import make_pair
from xrecon.training.subjects import Subject, find_subjects, split_subjects
from xrecon.volume import InputError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_cts(tmp_path_factory.mktemp("cts"))


def test_subjects_are_the_cts_and_patients_stay_together(folder, tmp_path):
    notes = []
    subjects = find_subjects(folder, notes)
    assert len(notes) == 1 and "person0_lungs.nrrd" in notes[0]
    assert [s.name for s in subjects] == ["person0", "person1", "person2"]
    splits = split_subjects(subjects, tiny())
    assert sorted(splits["train"] + splits["validation"]) == ["person0", "person1", "person2"]
    assert len(splits["validation"]) == 1 and not splits["test"]

    rows = [("person0.nii.gz", "A", ""), ("person1.nrrd", "A", ""), ("person2.mha", "B", "test")]
    manifest = folder / "subjects.csv"
    manifest.write_text("path,patient,split\n" + "\n".join(",".join(r) for r in rows))
    try:
        for seed in range(6):
            splits = split_subjects(find_subjects(folder), tiny(seed=str(seed)))
            assert splits["test"] == ["person2"]
            assert {len(splits["train"]), len(splits["validation"])} == {0, 2}
        manifest.write_text("path,patient,split\nnothing.nrrd,A,\n")
        with pytest.raises(InputError, match="line 2"):
            find_subjects(folder)
    finally:
        manifest.unlink()
    with pytest.raises(InputError, match="found none"):
        find_subjects(tmp_path)
    with pytest.raises(InputError, match="folder of CTs"):
        find_subjects(tmp_path / "missing")


def test_ct_numbers_with_an_offset_are_named_not_lost(tmp_path):
    write_volume(
        trunk().with_array((trunk().array + 1024).clip(0).astype(np.uint16)), tmp_path / "offset.nrrd"
    )
    notes = []
    with pytest.raises(InputError, match="found none"):
        find_subjects(tmp_path, notes)
    assert "offset.nrrd" in notes[0]
    subject = Subject("offset", tmp_path / "offset.nrrd", "offset")
    with pytest.raises(InputError, match="an offset"):
        prepare_subject(subject, tiny(), tmp_path / "prepared")


def test_two_cts_of_one_name_are_refused_and_named_rows_are_not(tmp_path):
    for person, seed in (("p1", 0), ("p2", 1)):
        (tmp_path / person).mkdir()
        write_volume(trunk(seed=seed), tmp_path / person / "ct.nrrd")
    manifest = tmp_path / "subjects.csv"
    manifest.write_text("path,patient,split\np1/ct.nrrd,A,train\np2/ct.nrrd,B,validation\n")
    with pytest.raises(InputError, match="p1.*p2"):
        find_subjects(tmp_path)
    manifest.write_text("name,path,split\none,p1/ct.nrrd,train\ntwo,p2/ct.nrrd,test\n", encoding="utf-8-sig")
    assert [(s.name, s.split) for s in find_subjects(tmp_path)] == [("one", "train"), ("two", "test")]
    manifest.write_text("path,name\np1/ct.nrrd,../one\n")
    with pytest.raises(InputError, match="without folders"):
        find_subjects(tmp_path)
    manifest.write_bytes("path,patient\np1/ct.nrrd,Müller\n".encode("latin-1"))
    with pytest.raises(InputError, match="UTF-8"):
        find_subjects(tmp_path)


def test_an_exchanged_ct_is_prepared_again(tmp_path):
    path = tmp_path / "ct.nrrd"
    write_volume(trunk(seed=0), path)
    config = tiny(pneumothorax_variants="0")
    first = prepare_subject(find_subjects(tmp_path)[0], config, tmp_path / "prepared")
    write_volume(trunk(seed=1), path)
    second = prepare_subject(find_subjects(tmp_path)[0], config, tmp_path / "prepared")
    assert not np.array_equal(first.variants[0][0], second.variants[0][0])


def test_a_damaged_prepared_file_is_made_again(folder, tmp_path):
    config = tiny(pneumothorax_variants="0")
    subject = find_subjects(folder)[0]
    first = prepare_subject(subject, config, tmp_path)
    stored = tmp_path / "person0.npz"
    whole = stored.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", whole[:-2000] + bytes(2000)):
        stored.write_bytes(damaged)
        again = prepare_subject(subject, config, tmp_path)
        assert np.array_equal(first.variants[0][0], again.variants[0][0])
        assert stored.read_bytes() == whole


# -- which CTs -----------------------------------------------------------------------------------
def test_unreadable_cts_are_listed_and_skipped(tmp_path):
    write_cts(tmp_path)
    (tmp_path / "person1.nrrd").write_bytes((tmp_path / "person1.nrrd").read_bytes()[:9000])
    hollow = trunk().with_array(np.full(trunk().shape, 40, dtype=np.int16))
    hollow.array[:2] = -1000
    write_volume(hollow, tmp_path / "no_lungs.nrrd")
    warnings = []
    train(tmp_path, tmp_path / "run", tiny(steps="2"), warnings=warnings)
    told = "\n".join(warnings)
    assert "person1.nrrd" in told and "left out no_lungs" in told and "person0_lungs.nrrd" in told
    stored = json.loads((tmp_path / "run" / "subjects.json").read_text())
    assert set(stored["left_out"]) == {"no_lungs"} and any("person1.nrrd" in n for n in stored["notes"])
    assert stored["subjects"]["person0"]["sha256"] == source_digest(tmp_path / "person0.nii.gz")

    # files named in a table are not looked at before they are prepared
    rows = ["person0.nii.gz,train", "person1.nrrd,train", "person2.mha,validation"]
    (tmp_path / "subjects.csv").write_text("path,split\n" + "\n".join(rows))
    warnings = []
    train(tmp_path, tmp_path / "table", tiny(steps="2"), warnings=warnings)
    assert len(warnings) == 1 and warnings[0].startswith("left out person1: ")
    (tmp_path / "subjects.csv").write_text("path,split\nperson1.nrrd,train\nperson2.mha,validation\n")
    with pytest.raises(InputError, match="none: .*person1.nrrd"):
        train(tmp_path, tmp_path / "none", tiny(steps="2"))
    assert not (tmp_path / "none" / "subjects.json").exists()


def test_one_ct_under_two_names_is_one_patient(tmp_path):
    write_volume(trunk(seed=0), tmp_path / "a.nrrd")
    write_volume(trunk(seed=1), tmp_path / "b.nrrd")
    (tmp_path / "c.nrrd").write_bytes((tmp_path / "a.nrrd").read_bytes())
    notes = []
    subjects = identify(find_subjects(tmp_path), tmp_path, notes)
    assert [s.patient for s in subjects] == ["a", "b", "a"] and "c has the same content as a" in notes[0]
    for seed in range(5):
        splits = split_subjects(subjects, tiny(seed=str(seed)))
        assert ("a" in splits["train"]) == ("c" in splits["train"])
    (tmp_path / "subjects.csv").write_text("path,split\na.nrrd,train\nb.nrrd,train\nc.nrrd,validation\n")
    with pytest.raises(InputError, match="a .train. and c .validation. have the same content"):
        train(tmp_path, tmp_path / "run", tiny())


# -- which samples -------------------------------------------------------------------------------
def test_samples_depend_on_seed_and_number_only(folder, tmp_path):
    config = tiny()
    one = ProjectedPairs(prepared(folder, config, tmp_path), config)
    other = ProjectedPairs(prepared(folder, config, tmp_path), config)
    first = one.sample([4, 5])
    second = other.sample([5, 4])
    assert torch.equal(first.pictures, second.pictures.flip(0))
    assert torch.equal(first.target, second.target.flip(0)) and first.names == second.names[::-1]
    assert not torch.equal(first.target[0], first.target[1])
    assert first.pictures.shape == (2, 2, 32, 32) and first.target.shape == (2, 1, 16, 16, 16)
    assert 0 <= first.target.min() and first.target.max() <= 1
    assert not torch.equal(ProjectedPairs(one.prepared, tiny(seed="1")).sample([4]).target, first.target[:1])
    assert mean_target(one).shape == (1, 1, 16, 16, 16)
    assert {name for item in range(3, 6) for name in one.sample([item]).names} == {
        f"person{i}" for i in range(3)
    }


def test_processes_share_the_samples_of_one():
    alone = Share(batch=2, accumulation=3)
    shares = [Share(1, 3, rank, 2) for rank in range(2)]
    for step in (0, 7):
        whole = [list(items) for items in alone.items(step)]
        parts = [[list(s.items(step)[k])[0] for s in shares] for k in range(3)]
        assert parts == whole and whole[0][0] == 6 * step
    epochs = [[Shuffle(7, seed=3).subject(7 * e + i) for i in range(7)] for e in range(3)]
    assert all(sorted(order) == list(range(7)) for order in epochs) and epochs[0] != epochs[1]


def test_memory_stays_within_the_budget(folder, tmp_path):
    config = tiny()
    subjects = prepared(folder, config, tmp_path)
    size = subjects[0].nbytes
    small = prepared(folder, config, tmp_path, gigabytes=2.5 * size / 1e9)
    for index in (0, 1, 2, 0, 1, 2):
        assert np.array_equal(small[index].variants[0][0], subjects[index].variants[0][0])
        assert small.cache.held_bytes <= small.cache.budget_bytes
    assert small.cache.held_bytes == 2 * size
    assert small[2] is small[2]
    none = prepared(folder, config, tmp_path, gigabytes=1e-9)
    assert none[0].nbytes == size and none.cache.held_bytes == 0


# -- random changes ------------------------------------------------------------------------------
KINDS = ("affine", "elastic", "mirror", "pneumothorax", "intensity", "geometry", "scatter", "noise")
FIXED = {
    "geometry.other_side_probability": "0",
    "geometry.source_to_detector_mm": "[1800, 1800]",
    "geometry.isocenter_to_detector_mm": "[300, 300]",
    "geometry.energy_kev": "[65, 65]",
}


def test_each_kind_of_change_has_its_own_switch(folder, tmp_path):
    off = {f"augmentation.{kind}_probability": "0" for kind in KINDS}
    subjects = prepared(folder, tiny(), tmp_path)
    still = ProjectedPairs(subjects, tiny(**FIXED, **off))
    sample = still.sample([0])
    index = [s.name for s in still.subjects].index(sample.names[0])
    as_scanned = still.reference(index)
    assert torch.equal(sample.pictures, as_scanned.pictures)
    assert torch.equal(sample.target, as_scanned.target)
    of_the_ct = {"affine", "elastic", "mirror", "pneumothorax", "intensity"}
    for kind in KINDS:
        moved = ProjectedPairs(subjects, tiny(**FIXED, **{**off, f"augmentation.{kind}_probability": "1"}))
        changed = moved.sample([0])
        assert not torch.equal(changed.pictures, sample.pictures), kind
        assert torch.equal(changed.target, sample.target) == (kind not in of_the_ct), kind
        assert torch.equal(changed.matrices, sample.matrices), f"the network is told of no {kind}"


def test_a_mirrored_patient_has_the_heart_on_the_other_side(folder, tmp_path):
    off = {f"augmentation.{kind}_probability": "0" for kind in KINDS}
    subjects = prepared(folder, tiny(), tmp_path)
    plain = ProjectedPairs(subjects, tiny(**FIXED, **off)).sample([0]).target
    other = tiny(**FIXED, **{**off, "augmentation.mirror_probability": "1"})
    torch.testing.assert_close(ProjectedPairs(subjects, other).sample([0]).target, plain.flip(4))


def test_a_cube_is_sampled_as_grid_sample_does(rng):
    cube = torch.as_tensor(rng.normal(size=(13, 13, 13)), dtype=torch.float32)
    settings = AugmentationConfig(rotation_deg=20.0, warp_mm=9.0)
    grid = random_warp(13, 5.0, settings, rng)
    expected = torch.nn.functional.grid_sample(cube[None, None], grid[None], align_corners=False)[0, 0]
    torch.testing.assert_close(sample_cube(cube, grid), expected)
    assert random_warp(13, 5.0, AugmentationConfig(affine_probability=0, elastic_probability=0), rng) is None


def test_views_are_mispositioned_by_the_stated_amounts(rng):
    view = ViewGeometry.preset("LEFT LATERAL", shape=(31, 37))
    only = {"pose_jitter_deg": 0.0, "shift_jitter_mm": 0.0, "magnification_jitter": 0.0}
    assert mispositioned(view, ViewConfig(**only), rng).is_close(view)
    shifts = [mispositioned(view, ViewConfig(**{**only, "shift_jitter_mm": 4.0}), rng) for _ in range(300)]
    spread = np.std([v.source for v in shifts], axis=0)
    assert np.all(np.abs(spread - 4.0) < 0.8)
    larger = [
        mispositioned(view, ViewConfig(**{**only, "magnification_jitter": 0.05}), rng) for _ in range(300)
    ]
    factors = np.array([view.pixel_spacing[0] / v.pixel_spacing[0] for v in larger])
    assert abs(np.std(np.log(factors)) - 0.05) < 0.01
    turned = mispositioned(view, ViewConfig(**{**only, "pose_jitter_deg": 3.0}), rng)
    assert np.allclose(turned.isocenter, view.isocenter) and not turned.is_close(view, 1.0)
    assert turned.source_to_detector_mm == pytest.approx(view.source_to_detector_mm)


def test_scatter_lowers_contrast_and_noise_stays_in_range(rng):
    integrals = torch.full((40, 40), 6.0)
    integrals[:, 20:] = 2.0
    settings = AugmentationConfig(scatter_probability=1.0, scatter_to_primary=3.0)
    measured = add_scatter(integrals, 10.0, 65.0, settings, rng)
    assert float(measured.max() - measured.min()) < 4.0 and measured.max() < 6.0
    # air scatters into the shadow: most where the two meet
    gain = integrals[20, :20] - measured[20, :20]
    assert gain[-1] > gain[0] > 0
    assert add_scatter(integrals, 10.0, 65.0, AugmentationConfig(scatter_probability=0.0), rng) is integrals
    noisy = degrade(rng.uniform(0, 1, (40, 40)), AugmentationConfig(noise=0.2), rng)
    assert noisy.dtype == np.float32 and -0.25 <= noisy.min() and noisy.max() <= 1.25


# -- pairs as the network sees them ----------------------------------------------------------------
def test_reference_pictures_agree_with_the_target_they_belong_to(folder, tmp_path):
    """Left-right: the heart stands out on the patient's left in the PA picture and in the target."""
    config = tiny(pneumothorax_variants="0")
    batch = ProjectedPairs(prepared(folder, config, tmp_path), config).reference(0)
    picture, target = batch.pictures[0, 0].numpy(), batch.target[0, 0].numpy()
    summed = target.sum(axis=1)[::-1]  # rows downwards
    coarse = picture.reshape(16, 2, 16, 2).mean(axis=(1, 3))
    alike = np.corrcoef(coarse.ravel(), summed.ravel())[0, 1]
    mirrored = np.corrcoef(coarse[:, ::-1].ravel(), summed.ravel())[0, 1]
    upside_down = np.corrcoef(coarse[::-1].ravel(), summed.ravel())[0, 1]
    assert alike > 0.85 and alike > mirrored + 0.03 and alike > upside_down + 0.03


def test_stored_pairs_are_those_made_on_the_fly(tmp_path):
    """Same CT, same point, same views: the same pictures and volume but for the resampling."""
    store = write_store(tmp_path / "store", 1)
    config = tiny(pneumothorax_variants="0", **FIXED)
    pair = make_pair(store.load("person0"), config)
    volume = store.load("person0").volume
    cube = resample(volume, (72,) * 3, (5.0,) * 3, (4.0, -9.0, 6.0))
    subject = Subject("person0", tmp_path, "P0")
    hu = np.rint(cube.array).astype(np.int16)
    labels = np.zeros(hu.shape, dtype=np.uint8)
    fresh = ProjectedPairs(FewPrepared([Prepared(subject, ((hu, labels),))]), config).reference(0)
    np.testing.assert_allclose(pair.matrices, fresh.matrices[0], atol=1e-3)
    assert np.abs(pair.target - fresh.target[0, 0].numpy()).mean() < 0.01
    assert np.abs(pair.pictures - fresh.pictures[0].numpy()).mean() < 0.02
    frontal = make_pair(store.load("person0"), tiny(**{"geometry.views": '["PA"]'}))
    assert np.array_equal(frontal.pictures, pair.pictures[:1])
    with pytest.raises(InputError, match="expected 3 radiographs"):
        make_pair(store.load("person0"), tiny(**{"geometry.views": '["PA", "LEFT LATERAL", "AP"]'}))


class FewPrepared(list):
    """Prepared subjects that lie in memory."""

    @property
    def subjects(self):
        return [prepared.subject for prepared in self]


def test_a_store_is_trained_from_and_its_damage_is_told(tmp_path):
    store = write_store(tmp_path / "store")
    damaged = tmp_path / "store" / store.cases["person1"].file
    damaged.write_bytes(damaged.read_bytes()[:-100])
    store.note_failures({"person9": "no lungs were found"})
    warnings = []
    run = tmp_path / "run"
    quality = train(tmp_path / "store", run, tiny(steps="3"), warnings=warnings)
    assert np.isfinite(quality["psnr"]) or not json.loads((run / "splits.json").read_text())["validation"]
    told = "\n".join(warnings)
    assert (
        "left out person1" in told and "damaged" in told and "person9 is not in the store: no lungs" in told
    )
    assert json.loads((run / "subjects.json").read_text())["subjects"]["person0"]["patient"] == "P0"
    with pytest.raises(InputError, match="store"):
        train(tmp_path / "store", tmp_path / "lungs", tiny("lungs", options="{}"))


def test_patients_with_one_lung_train_reconstructions_but_not_lung_networks(tmp_path):
    one = trunk(seed=3)
    hu = one.array.copy()
    hu[:, :, one.shape[2] // 2 :] = np.where(hu < -500, 30, hu)[:, :, one.shape[2] // 2 :]
    hu[one.array == -1000] = -1000
    write_volume(one.with_array(hu), tmp_path / "right-only.nrrd")
    (subject,) = find_subjects(tmp_path)
    made = prepare_subject(subject, tiny(pneumothorax_variants="2"), tmp_path / "prepared")
    assert [set(np.unique(labels)) for _, labels in made.variants] == [{0, 1}, {0, 1, 3}, {0, 1, 3}]
    with pytest.raises(InputError, match="both lungs.*exclude"):
        prepare_subject(subject, tiny("lungs", options="{}"), tmp_path / "lungs")
