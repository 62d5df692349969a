"""Every way from radiographs to a CT under one call, so that a benchmark can set them side by side.

A method is anything that can be called as

    method(radiographs) -> Volume

radiographs: those of one patient, each with its geometry, about one isocentre. The answer is in HU on
the cube `method.cube` about that isocentre, axes along LPS, and `method.name` says what it is. A method
raises InputError for radiographs that it cannot take, and says which it can. It may be called any number
of times, keeps nothing of a call, and gives the same answer to the same radiographs.

Here are those without a network that was trained. `create_method` makes them by name:

    sirt, fdk            back-projection, with HU calibrated on examples when there are any
    attenuation-field    NAF-style: a small network fitted to the radiographs of this patient
    mean-volume          the mean of the examples: knows nothing of the patient
    nearest-subject      the example whose radiographs are most like these

`xrecon.methods.reconstruction_method` gives these and trained networks alike. Examples are training subjects,
never the patients that are scored; of a store: `Example(name, case.radiographs, case.volume)` for each
`case = store.load(name)`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from xrecon.evaluation.calibration import IDENTITY, AffineHU, fit_hu
from xrecon.preprocess.ct import HU_WINDOW, resample
from xrecon.preprocess.radiograph import network_input, normalize
from xrecon.preprocess.views import SMALL_PIXELS, common_isocenter
from xrecon.volume import InputError, Quantity, Radiograph, Volume


@dataclass(frozen=True)
class Cube:
    """Where volumes are compared: `side` voxels of `spacing_mm` along each axis, about the isocentre."""

    side: int = 64
    spacing_mm: float = 5.6

    def volume(self, array: np.ndarray, isocenter: np.ndarray, **meta: str) -> Volume:
        """HU (z, y, x) in its place."""
        first = np.asarray(isocenter) - (self.side - 1) / 2.0 * self.spacing_mm
        return Volume(array.astype(np.float32), (self.spacing_mm,) * 3, tuple(first), meta=meta)

    def of(self, volume: Volume, isocenter: np.ndarray) -> np.ndarray:
        """A CT in HU on this cube, (z, y, x), clipped to the HU window."""
        cube = resample(volume, (self.side,) * 3, (self.spacing_mm,) * 3, isocenter)
        return np.clip(cube.array, *HU_WINDOW).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Example:
    """A training subject: its radiographs, and its CT in HU in the same place."""

    name: str
    radiographs: Sequence[Radiograph]
    volume: Volume


class Method(Protocol):
    """See the module."""

    name: str
    cube: Cube

    def __call__(self, radiographs: Sequence[Radiograph]) -> Volume: ...


def list_methods() -> list[str]:
    """Names of the methods without a trained network, sorted."""
    return sorted(_FACTORIES)


def create_method(
    name: str, cube: Cube | None = None, examples: Sequence[Example] = (), **options: Any
) -> Method:
    """A method by its name; options are those of its class.

    Raises InputError for an unknown name or option, and when a method needs examples and gets none.
    """
    if name not in _FACTORIES:
        raise InputError(f"expected one of the methods {list_methods()}, got {name!r}")
    try:
        return _FACTORIES[name](cube or Cube(), examples, **options)
    except TypeError as error:
        raise InputError(f"the method {name!r} does not take these options: {error}") from error


# -- methods that look only at examples ---------------------------------------------------------
class MeanVolume:
    """The mean of the examples' volumes, about the isocentre of their radiographs."""

    name = "mean-volume"

    def __init__(self, cube: Cube, examples: Sequence[Example]) -> None:
        self.cube = cube
        volumes = [_on_cube(example, cube) for example in _some(examples, self.name)]
        self.mean = np.mean(volumes, axis=0)

    def __call__(self, radiographs: Sequence[Radiograph]) -> Volume:
        return self.cube.volume(self.mean, common_isocenter(radiographs), method=self.name)


class NearestSubject:
    """The volume of the example whose radiographs correlate best with these.

    Normalised pictures on one detector, made small; for each view the example's radiograph with the
    nearest line of sight. Raises InputError when an example has none within 20 degrees.
    """

    name = "nearest-subject"
    NEAR_DEG = 20.0

    def __init__(self, cube: Cube, examples: Sequence[Example]) -> None:
        self.cube, self.examples = cube, list(_some(examples, self.name))
        self._pictures = [[_small(r) for r in example.radiographs] for example in self.examples]

    def __call__(self, radiographs: Sequence[Radiograph]) -> Volume:
        found, similarity = self.nearest(radiographs)
        meta = {"method": self.name, "subject": found.name, "similarity": f"{similarity:.4f}"}
        return self.cube.volume(_on_cube(found, self.cube), common_isocenter(radiographs), **meta)

    def nearest(self, radiographs: Sequence[Radiograph]) -> tuple[Example, float]:
        """The example, and the mean correlation of its pictures with these."""
        seen = [_small(r) for r in radiographs]
        scores = [
            float(np.mean([_alike(p, r, pictures, example) for p, r in zip(seen, radiographs, strict=True)]))
            for example, pictures in zip(self.examples, self._pictures, strict=True)
        ]
        best = int(np.argmax(scores))
        return self.examples[best], scores[best]


def _alike(
    picture: np.ndarray, radiograph: Radiograph, others: Sequence[np.ndarray], example: Example
) -> float:
    """Correlation of a picture with that of the example's view that is nearest."""
    cosines = [abs(float(r.geometry.normal @ radiograph.geometry.normal)) for r in example.radiographs]
    best = int(np.argmax(cosines))
    if cosines[best] < np.cos(np.radians(NearestSubject.NEAR_DEG)):
        known = ", ".join(r.view for r in example.radiographs)
        raise InputError(
            f"expected a view that the examples have, too ({known}), got {radiograph.view or 'another'}"
        )
    return float(np.corrcoef(picture.ravel(), others[best].ravel())[0, 1])


def _small(radiograph: Radiograph) -> np.ndarray:
    """The normalised picture on a detector that covers the chest, `SMALL_PIXELS` wide."""
    spacing = 440.0 / SMALL_PIXELS
    return normalize(network_input(radiograph, (SMALL_PIXELS,) * 2, (spacing,) * 2).array)


# -- methods that look only at the patient ------------------------------------------------------
class _Backprojected:
    """What SIRT, FDK and the attenuation field share: line integrals to attenuation, attenuation to HU.

    detector: pixels along an edge of the detector that pictures are resampled to, about as fine as the
    cube. margin: share of the cube's edge by which the reconstructed grid is larger on each side, since
    the patient does not end at the cube. energy_kev: at which the line integrals hold. With examples, the
    straight line that maps this method's HU on theirs best is applied, too (`calibration`).
    """

    name = ""

    def __init__(
        self,
        cube: Cube,
        examples: Sequence[Example] = (),
        *,
        margin: float = 0.25,
        energy_kev: float = 70.0,
        detector: int = 0,
        **options: Any,
    ) -> None:
        if not 0 <= margin <= 2 or detector < 0:
            raise InputError(
                f"expected a margin from 0 to 2 and no negative detector, got {margin}, {detector}"
            )
        self.cube, self.energy_kev, self.options = cube, energy_kev, options
        self.border = round(margin * cube.side)
        self.detector = detector or 2 * cube.side
        self.calibration: AffineHU = IDENTITY
        if examples:
            pairs = [(self(e.radiographs).array, _on_cube(e, cube)) for e in examples]
            self.calibration = fit_hu(pairs)

    def __call__(self, radiographs: Sequence[Radiograph]) -> Volume:
        import torch

        from xrecon.physics.attenuation import attenuation_to_hu

        isocenter = common_isocenter(radiographs)
        inputs = [self._input(r) for r in radiographs]
        views = [r.geometry.moved(np.eye(3), -isocenter) for r in inputs]
        projections = torch.as_tensor(np.stack([r.array for r in inputs]), dtype=torch.float32)[None]
        side = self.cube.side + 2 * self.border
        attenuation = self.attenuation(projections, views, (side,) * 3, (self.cube.spacing_mm,) * 3)
        inner = slice(self.border, self.border + self.cube.side)
        hu = attenuation_to_hu(attenuation[0, 0, inner, inner, inner].numpy(), self.energy_kev)
        return self.cube.volume(self.calibration(hu), isocenter, method=self.name)

    def attenuation(self, projections: Any, views: Sequence[Any], shape: tuple, spacing: tuple) -> Any:
        """Tensors: attenuation per mm (1, 1, z, y, x) of line integrals (1, view, row, column)."""
        raise TypeError(f"{type(self).__name__} reconstructs nothing by itself")

    def _input(self, radiograph: Radiograph) -> Radiograph:
        if radiograph.quantity is not Quantity.LINE_INTEGRAL:
            raise InputError(
                f"expected line integrals for {self.name}, got a radiograph of {radiograph.quantity.value}: "
                "without an absolute scale there is no attenuation"
            )
        if radiograph.geometry is None:
            raise InputError(f"expected radiographs with a geometry for {self.name}, got one without")
        edge = self.cube.side * self.cube.spacing_mm * (1 + 2 * self.border / self.cube.side)
        pixel = edge * radiograph.geometry.magnification / self.detector
        return network_input(radiograph, (self.detector,) * 2, (pixel,) * 2)


class Sirt(_Backprojected):
    """SIRT from an empty volume, no negative attenuation; options as `physics.iterative.sirt`."""

    name = "sirt"

    def attenuation(self, projections: Any, views: Sequence[Any], shape: tuple, spacing: tuple) -> Any:
        from xrecon.physics.iterative import sirt

        return sirt(projections, views, shape, spacing, **{"iterations": 30, **self.options}).volume


class Fdk(_Backprojected):
    """FDK, scaled so that its projections fit the radiographs best, since few views make no inversion.

    Options as `physics.filtered_backprojection.fdk`.
    """

    name = "fdk"

    def attenuation(self, projections: Any, views: Sequence[Any], shape: tuple, spacing: tuple) -> Any:
        from xrecon.physics.filtered_backprojection import fdk
        from xrecon.physics.projector import Projector

        volume = fdk(projections, views, shape, spacing, **{"window": "hann", **self.options}).clamp_min(0)
        again = Projector(views, shape, spacing)(volume)
        return volume * float((again * projections).sum() / again.square().sum().clamp_min(1e-12))


class FittedAttenuationField(_Backprojected):
    """A network fitted to this patient; options as `nets.attenuation_field.fit_attenuation_field`."""

    name = "attenuation-field"

    def attenuation(self, projections: Any, views: Sequence[Any], shape: tuple, spacing: tuple) -> Any:
        from xrecon.nets.attenuation_field import fit_attenuation_field

        return fit_attenuation_field(projections, views, shape, spacing, **self.options).volume


_FACTORIES: Mapping[str, Callable[..., Method]] = {
    kind.name: kind for kind in (MeanVolume, NearestSubject, Sirt, Fdk, FittedAttenuationField)
}


def _some(examples: Sequence[Example], name: str) -> Sequence[Example]:
    if not examples:
        raise InputError(f"expected training subjects as examples for {name}, got none")
    return examples


def _on_cube(example: Example, cube: Cube) -> np.ndarray:
    return cube.of(example.volume, common_isocenter(example.radiographs))
