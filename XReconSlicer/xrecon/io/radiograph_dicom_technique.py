"""How a computed radiograph was "taken", as DICOM attributes: positioning, detector, beam, grid.

A view is described as that of an isocentric positioner (PositionerType CARM), because only for that
does DICOM say what the angles mean. After PS3.3 C.8.11.5 (DX Positioning), C.8.7.5.1.2 (positioner
angles), C.8.7.5.1.4 (detector angles) and C.7.6.1.1.1 (PatientOrientation).

Technique (kVp, mAs, grid, anode) is that which was simulated, which C.12.1 (Synthetic Data) allows; what
was not simulated (exposure time, tube current, dose to the patient) has no attribute.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from xrecon.io.radiograph_dicom import OBLIQUE_CODES
from xrecon.io.radiograph_dicom_view import VIEW_CODES
from xrecon.io.radiograph_positioner import detector_angles
from xrecon.physics.geometry import ViewGeometry
from xrecon.physics.poses import positioner_angles

if TYPE_CHECKING:
    import pydicom
    from pydicom.valuerep import DSfloat

_VIEW_POSITIONS = {"PA": "PA", "AP": "AP", "LEFT LATERAL": "LL", "RIGHT LATERAL": "RL"}
# Directions that make up less than this of a row or column are not named in PatientOrientation.
_NAMED_COSINE = 0.1
# Nearer than this to a frontal or lateral beam, or steeper, a view has no name of an oblique one.
_OBLIQUE_DEG = 15.0


def code_item(value: str, scheme: str, meaning: str) -> pydicom.Dataset:
    """An item of a code sequence."""
    from pydicom import Dataset

    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def _decimal(value: float) -> DSfloat:
    from pydicom.valuerep import DSfloat

    # what rounding left of an angle goes: -30.0, not -30.000000000000
    return DSfloat(round(float(value), 9) + 0.0, auto_format=True)


# -- geometry ----------------------------------------------------------------------------------
def put_geometry(dataset: pydicom.Dataset, geometry: ViewGeometry, view: str) -> None:
    """DX detector and positioning modules. `view` is a name of `geometry.VIEWS` or "".

    A parallel beam has no source: then neither distances nor detector angles are written.
    """
    dataset.ImagerPixelSpacing = [_decimal(s) for s in geometry.pixel_spacing]
    dataset.EstimatedRadiographicMagnificationFactor = _decimal(geometry.magnification)
    dataset.PatientOrientation = list(patient_orientation(geometry))
    primary, secondary = positioner_angles(geometry)
    dataset.PositionerType = "CARM"
    dataset.PositionerPrimaryAngle, dataset.PositionerSecondaryAngle = _decimal(primary), _decimal(secondary)
    if geometry.beam == "cone":
        dataset.DistanceSourceToDetector = _decimal(geometry.source_to_detector_mm)
        dataset.DistanceSourceToPatient = _decimal(geometry.source_to_isocenter_mm)
        primary_offset, secondary_offset = detector_angles(geometry)
        dataset.DetectorPrimaryAngle = _decimal(primary_offset)
        dataset.DetectorSecondaryAngle = _decimal(secondary_offset)
    if view:
        dataset.ViewPosition = _VIEW_POSITIONS[view]
        meaning = {"PA": "postero-anterior", "AP": "antero-posterior"}.get(view, view.lower())
        dataset.ViewCodeSequence = [code_item(VIEW_CODES[view][0], "SCT", meaning)]
        return
    name = oblique_name(primary, secondary)
    if name:
        dataset.ViewCodeSequence = [code_item(OBLIQUE_CODES[name], "SCT", name)]


def oblique_name(primary_deg: float, secondary_deg: float) -> str:
    """CID 4010's name of a view by its positioner angles, e.g. "left anterior oblique".

    "" when it is within 15 degrees of frontal or lateral, or tilted by more than 45 to head or feet.
    """
    turn = abs(primary_deg) % 90.0
    if min(turn, 90.0 - turn) < _OBLIQUE_DEG or abs(secondary_deg) > 45.0:
        return ""
    side = "left" if primary_deg > 0 else "right"
    return f"{side} {'anterior' if abs(primary_deg) < 90.0 else 'posterior'} oblique"


def patient_orientation(geometry: ViewGeometry) -> tuple[str, str]:
    """DICOM's PatientOrientation of columns (to the right) and rows (down), e.g. ("L", "F"), ("LP", "F").

    Letters by falling share of the direction; shares below 0.1 are left out.
    """
    return tuple(_letters(d) for d in (geometry.column_direction, geometry.row_direction))


def _letters(direction: tuple[float, float, float]) -> str:
    order = np.argsort(-np.abs(direction), kind="stable")
    named = [axis for axis in order if abs(direction[axis]) >= _NAMED_COSINE]
    return "".join(("LPH" if direction[axis] > 0 else "RAF")[axis] for axis in named)


# -- technique ---------------------------------------------------------------------------------
def put_technique(dataset: pydicom.Dataset, meta: Mapping[str, str]) -> None:
    """X-ray generation, grid, detector and dose modules from the "radiography" settings of `meta`."""
    settings = _settings(meta)
    dataset.DetectorType = ""
    if not settings:
        return
    if settings.get("spectrum") == "poly":
        dataset.KVP = _decimal(settings["tube_kvp"])
        dataset.AnodeTargetMaterial = "TUNGSTEN"
    with contextlib.suppress(KeyError, ValueError):  # a picture without a simulated exposure
        tube_mas = float(meta["tube_mas"])
        dataset.Exposure, dataset.ExposureInuAs = round(tube_mas), round(1000.0 * tube_mas)
    # The grid is simulated without lines or cut-off, as one that moves.
    dataset.Grid = "RECIPROCATING" if settings.get("grid") else "NONE"
    scintillator = settings.get("detector")
    if scintillator in ("CsI", "Gd2O2S"):
        dataset.DetectorType = "SCINTILLATOR"
        thickness = settings["scintillator_mg_per_cm2"]
        dataset.DetectorDescription = f"simulated: {scintillator}, {thickness:g} mg/cm2"
    if settings.get("noise") or settings.get("saturation"):
        where = "behind patient and grid" if settings["exposure_at"] == "patient" else "in the open beam"
        # what it came to counts more than what was asked for: automatic exposure has a limit
        kerma = meta.get("detector_air_kerma_ugy", f"{settings['detector_air_kerma_ugy']:g}")
        dataset.CommentsOnRadiationDose = (
            f"Simulated air kerma at the detector {where}: {kerma} uGy. Nobody was exposed."
        )


def _settings(meta: Mapping[str, str]) -> dict[str, Any]:
    """The settings of `physics.radiography` that a radiograph was made with, {} when it has none."""
    try:
        settings = json.loads(meta.get("radiography", "{}"))
    except ValueError:
        return {}
    return settings if isinstance(settings, dict) else {}
