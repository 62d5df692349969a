"""Log signals and films keep what they are in every format, also when the private block is taken out."""

from __future__ import annotations

import json

import numpy as np
import pydicom
import pytest
from radiography_inputs import slab
from xrecon.io.radiograph import read_radiograph, write_radiograph
from xrecon.physics.geometry import ViewGeometry
from xrecon.physics.radiography import RadiographySettings, render_radiographs
from xrecon.preprocess.radiograph import network_input
from xrecon.volume import InputError, Quantity

VIEW = ViewGeometry.pa(shape=(40, 44))


def taken(output: str):
    return render_radiographs(slab(-200.0), [VIEW], RadiographySettings(output=output))[0]


@pytest.mark.parametrize("suffix", ["dcm", "png", "nrrd"])
@pytest.mark.parametrize("output", ["log", "film"])
def test_radiographs_come_back_as_they_were(output, suffix, tmp_path):
    radiograph = taken(output)
    write_radiograph(radiograph, tmp_path / f"a.{suffix}")
    again = read_radiograph(tmp_path / f"a.{suffix}")
    assert again.quantity is radiograph.quantity and again.view == "PA"
    assert again.geometry.is_close(radiograph.geometry)
    assert again.history[: len(radiograph.history)] == radiograph.history
    settings = RadiographySettings.from_dict(json.loads(again.meta["radiography"]))
    assert settings == RadiographySettings(output=output)
    step = 0.0 if output == "film" or suffix == "nrrd" else np.ptp(radiograph.array) / 32767
    np.testing.assert_allclose(again.array, radiograph.array, atol=step + 1e-6)


def test_a_log_signal_is_known_by_its_value_mapping(tmp_path):
    path = tmp_path / "a.dcm"
    write_radiograph(taken("log"), path)
    dataset = pydicom.dcmread(path)
    dataset.remove_private_tags()
    dataset.save_as(path)
    again = read_radiograph(path)
    assert again.quantity is Quantity.LOG_SIGNAL
    np.testing.assert_allclose(again.array, taken("log").array, atol=1e-3)


def test_log_signals_are_not_inverted_and_are_zero_where_nothing_is(tmp_path):
    write_radiograph(taken("log"), tmp_path / "a.nrrd")
    with pytest.raises(InputError, match="log signals, which are bright = dense"):
        read_radiograph(tmp_path / "a.nrrd", invert=True)
    wide = network_input(taken("log"), (60, 60), (20.0, 20.0))
    assert wide.array[0, 0] == 0.0
