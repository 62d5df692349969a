"""Millilitres and occupancy from labels: exact counts, rows, warnings."""

from __future__ import annotations

import json

import numpy as np
import pytest
from xrecon.pneumothorax.quantify import quantify
from xrecon.volume import InputError, Quantity, Volume


def labels_of(counts, spacing=(10.0, 10.0, 10.0), **meta):
    """A label volume of 1 ml voxels (by default) with the given number of voxels for labels 1 to 4."""
    array = np.zeros(12000, np.uint8)
    array[: sum(counts)] = np.repeat([1, 2, 3, 4], counts)
    return Volume(array.reshape(20, 30, 20), spacing, quantity=Quantity.LABEL, meta=meta)


def test_counts_become_millilitres_and_percent():
    found = quantify(labels_of((1400, 1500, 600, 0)))
    assert (found.right_lung_ml, found.left_lung_ml) == (1400.0, 1500.0)
    assert (found.right_pneumothorax_ml, found.left_pneumothorax_ml) == (600.0, 0.0)
    assert found.right_occupancy_percent == 30.0  # 600 / (600 + 1400)
    assert found.left_occupancy_percent == 0.0
    assert found.occupancy_percent == pytest.approx(100 * 600 / 3500)
    assert (found.lung_ml, found.pneumothorax_ml) == (2900.0, 600.0)
    assert found.warnings == ()


def test_voxel_size_counts_in_all_three_directions():
    found = quantify(labels_of((1400, 1500, 600, 100), spacing=(20.0, 10.0, 5.0)))
    assert found.right_lung_ml == pytest.approx(1400.0)
    found = quantify(labels_of((1400, 1500, 600, 100), spacing=(3.0, 7.0, 11.0)))
    assert found.right_lung_ml == pytest.approx(1400 * 0.231)


def test_an_absent_side_has_no_occupancy():
    found = quantify(labels_of((0, 1500, 0, 300)))
    assert found.right_occupancy_percent is None
    assert found.left_occupancy_percent == pytest.approx(100 / 6)
    empty = quantify(labels_of((0, 0, 0, 0)))
    assert empty.occupancy_percent is None and len(empty.warnings) == 2


def test_dict_is_json_and_rows_are_a_table():
    found = quantify(labels_of((1400, 1500, 600, 0)))
    plain = json.loads(json.dumps(found.to_dict()))
    assert plain["right_occupancy_percent"] == 30.0 and plain["pneumothorax_ml"] == 600.0
    rows = found.rows()
    assert all(list(r) == ["structure", "side", "volume_ml", "occupancy_percent"] for r in rows)
    table = {(r["structure"], r["side"]): (r["volume_ml"], r["occupancy_percent"]) for r in rows}
    assert len(table) == 6
    assert table["pneumothorax", "right"] == (600.0, 30.0)
    assert table["lung", "both"] == (2900.0, None)
    for structure in ("lung", "pneumothorax"):
        parts = table[structure, "right"][0] + table[structure, "left"][0]
        assert parts == table[structure, "both"][0]


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ((50, 1500, 0, 0), "50 ml"),
        ((6000, 3000, 0, 0), "6000 ml"),
        ((400, 2000, 0, 0), "5.0 times"),
        ((20, 2000, 980, 0), "98 %"),
        ((1400, 1500, 600, 50), "both sides"),
    ],
)
def test_implausible_figures_are_told(counts, words):
    assert any(words in sentence for sentence in quantify(labels_of(counts)).warnings)


def test_warnings_of_the_segmentation_come_first():
    found = quantify(labels_of((1400, 1500, 600, 50), warnings="It leaked.\nIt was noisy."))
    assert found.warnings[:2] == ("It leaked.", "It was noisy.") and len(found.warnings) == 3
    assert found.to_dict()["warnings"] == list(found.warnings)


@pytest.mark.parametrize("wrong", [5, 255])
def test_other_labels_are_refused(wrong):
    labels = labels_of((10, 10, 0, 0))
    array = np.array(labels.array)
    array[0, 0, 0] = wrong
    with pytest.raises(InputError, match="0 to 4"):
        quantify(labels.with_array(array))
    with pytest.raises(InputError, match="0 to 4"):
        quantify(labels.with_array(labels.array * 0.5))
