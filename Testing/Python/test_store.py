"""The training store: what is written reads back, damage is found, writing can stop anywhere."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from rotations import rotation_matrix
from xrecon.physics.geometry import ViewGeometry
from xrecon.physics.poses import view_from_positioner_angles
from xrecon.training.store import CASES, MANIFEST, file_digest, open_store, source_digest
from xrecon.volume import InputError, Quantity, Radiograph, Volume

SETTINGS = {"seed": 3, "energy": 70.0, "views": ("PA", "LAO 30")}


def ct() -> Volume:
    """Small, oblique, anisotropic, with fractions and values beyond int16."""
    array = np.random.default_rng(1).normal(0.0, 700.0, (5, 6, 7)).astype(np.float32)
    array[0, 0, :2] = (-40000.0, 40000.0)
    oblique = rotation_matrix((1, 2, 3), 40)
    return Volume(array, (2.5, 1.25, 0.75), (-20.0, 30.0, 5.0), oblique, meta={"table": "removed"})


def radiographs() -> list[Radiograph]:
    rng = np.random.default_rng(2)
    views = [
        ViewGeometry.pa(shape=(9, 11), isocenter=(1.0, 2.0, 3.0)),
        view_from_positioner_angles(30.0, -7.5, shape=(8, 13), pixel_spacing=(3.0, 2.0)).shifted(
            np.array([0.0, 0.0, 12.0])
        ),
    ]
    return [
        Radiograph(rng.gamma(2.0, 1.5, view.shape), view, Quantity.LINE_INTEGRAL, name, ("made",), {"a": "b"})
        for view, name in zip(views, ("PA", ""), strict=True)
    ]


def put(folder: Path, name: str = "one", **changes: object):
    about = {"source": f"{name}.nrrd", "source_sha256": "ab", "settings": SETTINGS, **changes}
    return open_store(folder, create=True).put(name, ct(), radiographs(), **about)


def test_what_is_put_is_loaded(tmp_path: Path) -> None:
    about = {"patient": "p1", "split": "train", "licence": "CC BY 4.0", "attribution": "Someone: Données"}
    entry = put(tmp_path, **about, made_by={"xrecon": "1"})
    store = open_store(tmp_path)
    assert store.cases["one"] == entry and asdict(entry).items() >= about.items()
    assert (entry.shape, entry.spacing_mm) == ((5, 6, 7), (2.5, 1.25, 0.75))
    case = store.load("one")
    assert case.volume.same_grid(ct()) and dict(case.volume.meta) == {"table": "removed"}
    assert case.volume.array.dtype == np.int16
    assert np.array_equal(case.volume.array, np.rint(ct().array).clip(-32768, 32767))
    for read, written in zip(case.radiographs, radiographs(), strict=True):
        assert read.geometry == written.geometry  # every bit
        assert np.array_equal(read.array, written.array.astype(np.float32))
        assert (read.quantity, read.view, read.history) == (written.quantity, written.view, written.history)
    assert store.verify() == {}


def test_the_same_case_is_the_same_file(tmp_path: Path) -> None:
    assert put(tmp_path / "a").sha256 == put(tmp_path / "b").sha256


def test_holds_only_the_same_source_and_settings(tmp_path: Path) -> None:
    put(tmp_path)
    store = open_store(tmp_path)
    assert store.holds("one", "ab", SETTINGS)
    assert not store.holds("one", "cd", SETTINGS)
    assert not store.holds("two", "ab", SETTINGS)
    assert not store.holds("one", "ab", {**SETTINGS, "seed": 4})


@pytest.mark.parametrize("damage", ["flip", "cut", "gone"])
def test_damage_is_found(tmp_path: Path, damage: str) -> None:
    put(tmp_path)
    put(tmp_path, "two")
    path = tmp_path / CASES / "one.npz"
    data = bytearray(path.read_bytes())
    if damage == "flip":
        data[len(data) // 2] ^= 1
    path.write_bytes(data[:-10] if damage == "cut" else data)
    if damage == "gone":
        path.unlink()
    store = open_store(tmp_path)
    assert list(store.verify()) == ["one"]
    assert not store.holds("one", "ab", SETTINGS) and store.holds("two", "ab", SETTINGS)
    with pytest.raises(InputError, match="one"):
        store.load("one")
    put(tmp_path)
    assert open_store(tmp_path).verify() == {}


def test_a_failed_write_leaves_the_store_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}

    def full(path: object, **_: object) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full)
    for name in ("one", "two"):
        with pytest.raises(OSError, match="disk is full"):
            put(tmp_path, name)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_what_a_killed_writer_left_is_removed_by_the_next(tmp_path: Path) -> None:
    put(tmp_path)
    left = [tmp_path / CASES / ".two.0a1b2c3d.part.npz", tmp_path / ".manifest.0a1b2c3d.part.json"]
    for path in left:
        path.write_bytes(b"half")
    assert list(open_store(tmp_path).cases) == ["one"] and all(path.exists() for path in left)  # a reader
    put(tmp_path, "two")
    assert not any(path.exists() for path in left) and list(open_store(tmp_path).cases) == ["one", "two"]


def test_failures_are_kept_until_the_case_is_there(tmp_path: Path) -> None:
    put(tmp_path)
    open_store(tmp_path).note_failures({"two": "no lungs"})
    assert open_store(tmp_path).failed == {"two": "no lungs"}
    put(tmp_path, "two")
    assert not open_store(tmp_path).failed


def test_what_is_no_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a training store"):
        open_store(tmp_path)
    put(tmp_path)
    manifest = tmp_path / MANIFEST
    good = json.loads(manifest.read_text(encoding="utf-8"))
    case = good["cases"]["one"]
    for bad, said in (
        ("{", "manifest"),
        (json.dumps({"schema_version": 99}), "schema version 1"),
        (json.dumps({**good, "cases": {"other": case}}), "case other"),
        (json.dumps({**good, "cases": {"one": {**case, "colour": 1}}}), "colour"),
        (json.dumps({**good, "cases": [1]}), "manifest"),
    ):
        manifest.write_text(bad, encoding="utf-8")
        with pytest.raises(InputError, match=said):
            open_store(tmp_path)


def test_what_cannot_be_put(tmp_path: Path) -> None:
    store = open_store(tmp_path, create=True)
    about = {"source": "", "source_sha256": "", "settings": {}}
    bare = Radiograph(radiographs()[0].array, None)
    for name, volume, pictures, said in (
        ("a/b", ct(), [], "without folders"),
        ("a", ct().with_array(ct().array, Quantity.ATTENUATION), [], "in HU"),
        ("a", ct(), [bare], "with a geometry"),
        ("a", ct().with_array(np.full(ct().shape, np.nan)), [], "finite"),
    ):
        with pytest.raises(InputError, match=said):
            store.put(name, volume, pictures, **about)
    assert list(tmp_path.iterdir()) == []


def test_digest_of_a_folder_tells_names_and_content(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    one = source_digest(tmp_path)
    assert source_digest(tmp_path / "a") == file_digest(tmp_path / "a") != one
    (tmp_path / "a").rename(tmp_path / "b")
    two = source_digest(tmp_path)
    (tmp_path / "b").write_bytes(b"2")
    assert len({one, two, source_digest(tmp_path)}) == 3
