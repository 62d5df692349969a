"""Settings: validated by name, to and from plain data, presets, the way to the film."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import fields

import pytest
from xrecon.physics.radiography_settings import RadiographySettings, comparison_settings
from xrecon.volume import InputError


def test_settings_survive_json():
    settings = RadiographySettings.chest(tube_kvp=110, grid=False, photometric="MONOCHROME1")
    again = RadiographySettings.from_dict(json.loads(json.dumps(settings.to_dict())))
    assert again == settings and again.tube_kvp == 110.0 and isinstance(again.tube_kvp, float)
    assert RadiographySettings.from_dict({}) == RadiographySettings.chest()
    assert settings.changed(grid=True) == RadiographySettings(tube_kvp=110, photometric="MONOCHROME1")


WRONG = [
    ("tube_kvp", 300), ("tube_kvp", float("nan")), ("tube_kvp", "120"), ("tube_kvp", True),
    ("noise", 1), ("grid", "yes"), ("output", "paper"), ("detector", "film"), ("spectrum", None),
    ("aluminium_mm", 0.0), ("mtf_at_1_lp_per_mm", 0.0), ("glare_fraction", -0.1), ("energy_kev", 10),
    ("photometric", "RGB"), ("bone_material", "wood"), ("exposure_at", ""), ("detector", []),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_a_wrong_value_is_told_by_its_field(name, value):
    with pytest.raises(InputError, match=f"expected {name} "):
        RadiographySettings(**{name: value})


def test_an_unknown_field_is_told():
    with pytest.raises(InputError, match="got kvp"):
        RadiographySettings.from_dict({"kvp": 120})
    with pytest.raises(InputError, match="got dose, kvp"):
        RadiographySettings().changed(kvp=120, dose=1)


def test_every_number_has_its_range_and_every_text_its_choices():
    for field in fields(RadiographySettings):
        if field.type != "bool":
            with pytest.raises(InputError, match=field.name):
                RadiographySettings(**{field.name: -1e9 if field.type == "float" else "?"})


def test_ideal_means_line_integrals():
    assert RadiographySettings.ideal().is_ideal and RadiographySettings.ideal(55.0).energy_kev == 55.0
    changes = [{name: True} for name in ("noise", "scatter", "blur", "glare", "saturation")]
    for change in (*changes, {"spectrum": "poly"}, {"output": "film"}):
        assert not RadiographySettings.ideal().changed(**change).is_ideal
    assert not RadiographySettings.chest().is_ideal


def test_the_comparison_goes_from_ideal_to_film():
    settings = list(comparison_settings().values())
    assert settings[0] == RadiographySettings.ideal() and settings[-2] == RadiographySettings.chest()
    assert len(set(settings)) == len(settings) >= 9
    assert {s.grid for s in settings} == {s.scatter for s in settings} == {True, False}
    assert len({s.detector_air_kerma_ugy for s in settings if s.noise}) >= 3
    assert settings[-1].photometric == "MONOCHROME1"


def test_settings_load_no_torch():
    code = "import sys, xrecon.physics.radiography_settings; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
