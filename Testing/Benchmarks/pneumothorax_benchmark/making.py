"""A case made of a subject's CT: the CT as PTX-Seg gets it and its truth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from xrecon.io.image import read_volume
from xrecon.pneumothorax.emphysema import add_emphysema
from xrecon.pneumothorax.lungs import segment_lungs
from xrecon.pneumothorax.morphology import grown_box
from xrecon.pneumothorax.scanner import add_noise, apply_kernel
from xrecon.pneumothorax.synthesize import synthesize
from xrecon.preprocess.ct import AIR_HU, body_mask, resample
from xrecon.volume import Quantity, Volume

from pneumothorax_benchmark.cases import Case

# Kept around the lungs along the body's axis, and around the body across it, mm: PTX-Seg floods the air
# outside from the corners.
BESIDE_LUNGS_MM = 25.0
BESIDE_BODY_MM = 8.0


@dataclass(frozen=True)
class Made:
    """volume: HU. truth: labels 1 right lung, 2 left lung, 3 right air, 4 left air; all on one grid."""

    volume: Volume
    truth: Volume


def subject_path(data: Path, subject: str) -> Path:
    """The file of a subject."""
    for ending in (".nii.gz", ".nrrd"):
        if (data / f"{subject}{ending}").exists():
            return data / f"{subject}{ending}"
    raise SystemExit(f"expected a CT of {subject} in {data}")


def clean_subject(data: Path, subject: str, cache: Path) -> tuple[Volume, Volume]:
    """(CT cropped to the chest, lungs of the bundled network on the clean CT), the lungs kept in `cache`."""
    volume = read_volume(subject_path(data, subject))
    kept = cache / f"{subject}-lungs.npy"
    if kept.exists():
        lungs = volume.with_array(np.load(kept), Quantity.LABEL)
    else:
        lungs = segment_lungs(volume)
        cache.mkdir(parents=True, exist_ok=True)
        part = kept.with_suffix(f".{np.random.default_rng().integers(1 << 30)}.npy")
        np.save(part, lungs.array.astype(np.uint8))
        part.replace(kept)
    box = _chest(volume, lungs)
    return cropped(volume, box), cropped(lungs, box)


def _chest(volume: Volume, lungs: Volume) -> tuple[slice, slice, slice]:
    across = [int(np.ceil(BESIDE_BODY_MM / s)) for s in volume.spacing]
    around_body = grown_box(body_mask(volume), across)
    along = int(np.ceil(BESIDE_LUNGS_MM / volume.spacing[0]))
    return grown_box(lungs.array > 0, (along, 0, 0))[0], around_body[1], around_body[2]


def cropped(volume: Volume, box: tuple[slice, slice, slice]) -> Volume:
    """A box of voxels of a volume."""
    origin = volume.index_to_world(np.array([s.start for s in box][::-1]))
    return Volume(
        np.ascontiguousarray(volume.array[box]), volume.spacing, tuple(origin), volume.direction,
        volume.quantity, volume.meta,
    )  # fmt: skip


def make(case: Case, data: Path, cache: Path) -> Made:
    """The CT and the truth of a case. Order: slices thinned, emphysema, pneumothorax, thick slices, kernel,
    noise; so noise is that of the slices measured, and the truth that of ideal geometry."""
    volume, lungs = clean_subject(data, case.subject, cache)
    if 0.0 < case.slice_mm < volume.spacing[0]:
        volume, lungs = _resliced(volume, lungs, case.slice_mm)
    if case.kind == "pneumothorax":
        made = synthesize(
            volume, lungs, case.side, case.fraction, case.position, case.seed, place=case.place,
            loculated=case.loculated, effusion=case.effusion, emphysema=case.emphysema,
        )
        volume, truth, share = made.volume, made.labels, made.air_share
    else:
        if case.kind == "emphysema":
            volume, _ = add_emphysema(volume, lungs, case.emphysema, seed=case.seed)
        truth, share = lungs, np.zeros(lungs.shape, np.float32)
    if case.slice_mm > volume.spacing[0]:
        volume, truth = thick(volume, truth, share, max(2, round(case.slice_mm / volume.spacing[0])))
    if case.kernel:
        volume = apply_kernel(volume, case.kernel)
    if case.noise_hu:
        volume = add_noise(volume, case.noise_hu, case.kernel or "sharp", seed=case.seed + 1000)
    whole = np.clip(np.rint(volume.array), -1024, 3071).astype(np.int16)
    return Made(volume.with_array(whole), truth)


def _resliced(volume: Volume, lungs: Volume, slice_mm: float) -> tuple[Volume, Volume]:
    """CT and lungs interpolated to thinner slices."""
    count = int(np.floor(volume.shape[0] * volume.spacing[0] / slice_mm))
    spacing = (slice_mm, *volume.spacing[1:])
    thin = resample(volume, (count, *volume.shape[1:]), spacing, tuple(volume.center), fill=AIR_HU)
    sides = [
        resample(
            lungs.with_array((lungs.array == k).astype(np.float32), Quantity.DISPLAY),
            thin.shape, spacing, tuple(volume.center), fill=0.0,
        ).array >= 0.5
        for k in (1, 2)
    ]  # fmt: skip
    return thin, thin.with_array(np.where(sides[0], 1, np.where(sides[1], 2, 0)).astype(np.uint8),
                                 Quantity.LABEL)  # fmt: skip


def thick(volume: Volume, truth: Volume, air_share: np.ndarray, slices: int) -> tuple[Volume, Volume]:
    """CT averaged over that many slices, and its truth: air where its mean share is at least a half,
    lung where lung and air together make at least half. A rest of slices at the end is cut off."""
    count = volume.shape[0] // slices

    def mean(array: np.ndarray) -> np.ndarray:
        parts = array[: count * slices].reshape(count, slices, *array.shape[1:])
        return parts.mean(axis=1, dtype=np.float32)

    hu = mean(volume.array)
    air = mean(air_share) >= 0.5
    labels = np.zeros(hu.shape, np.uint8)
    for lung, label in ((1, 3), (2, 4)):
        side = np.isin(truth.array, (lung, label))
        whole = mean(side) >= 0.5
        # where a slice's own air belongs to this side
        near = mean(truth.array == label) > 0.0
        labels[whole] = lung
        labels[air & near] = label
    origin = volume.index_to_world(np.array([0.0, 0.0, (slices - 1) / 2.0]))
    spacing = (volume.spacing[0] * slices, *volume.spacing[1:])
    return (
        Volume(hu, spacing, tuple(origin), volume.direction, Quantity.HU, volume.meta),
        Volume(labels, spacing, tuple(origin), volume.direction, Quantity.LABEL, truth.meta),
    )
