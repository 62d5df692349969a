"""A reconstruction moved towards its radiographs, kept only where it can be shown to help.

What is taken as given: line integrals (a picture made for viewing has no scale to fit), on the network's
detector, over rays that pass the volume from end to end. The body goes on beyond the volume, so a margin
of what lies at its faces is set about it for the fit, free to become less or more, and cut off again. A
tenth of the rays, in blocks, is left out of the fit. The moved volume is kept only when it explains them
better, too, and has not gone farther than a reconstruction's error can be; else the network's own volume
stays, with the reason. A card can say that it did not help on validation subjects: then it is not done.

On request the views' poses are fitted to the volume first (`trust.poses`), to the pixels that are not left
out. The volume is then moved once with the recorded poses and once with the fitted ones, and these are taken
only when rays that neither fit has seen are explained better with them: those left out of both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from xrecon.evaluation.reprojection import FIELD_SHARE, REPROJECTION_ENERGY_KEV, TISSUE_LINE_INTEGRAL
from xrecon.physics.data_consistency import ConsistencySettings
from xrecon.volume import InputError, Quantity, Radiograph, Volume

ProgressCallback = Callable[[str, float, str], None]

LEFT_OUT, BLOCK_PIXELS = 0.1, 6
# Of the residual of the rays left out: less of a gain is none.
LEAST_GAIN = 0.05
# Of the root mean square HU in the body: networks err by 100 to 200 HU there, moves by more are no repair.
LARGEST_MOVE_HU = 250.0
# Where nothing is known of the error: the body's voxels may move, air by this share of that.
AIR_SHARE, AIR_BELOW_HU = 0.05, -900.0
HU_CEILING = 3071.0
# About the volume, where the body may go on; how much less is known of it there than within.
MARGIN_MM, MARGIN_DEVIATION = 56.0, 3.0


@dataclass(frozen=True, eq=False)
class Refined:
    """volume: the moved one, or the network's when `record["applied"]` is false. inputs: with refined
    poses when these were taken. record: for JSON; see `refine`."""

    volume: Volume
    inputs: list[Radiograph]
    record: dict[str, Any]


@dataclass(frozen=True, eq=False)
class _Moved:
    """A moved volume, what is told of it, and its projections beside the pictures'.

    projected, pictures, left_out: (1, view, row, column); left_out: the rays that it was not fitted to.
    """

    volume: Volume
    facts: dict[str, Any]
    projected: Any
    pictures: Any
    left_out: Any

    def residual(self, rays: Any) -> float:
        """Of some rays, relative to their line integrals."""
        return _residual(self.projected, self.pictures, rays)


def refine(
    volume: Volume,
    inputs: Sequence[Radiograph],
    deviation: Volume | None = None,
    settings: ConsistencySettings | None = None,
    measured: Mapping[str, Any] | None = None,
    poses: bool = False,
    seed: int = 0,
    progress: ProgressCallback | None = None,
) -> Refined:
    """A reconstruction in HU moved towards its radiographs `inputs`, or left with the reason.

    deviation: the standard deviation of its error in HU, which says where it may move; None: in the body.
    measured: the card's figures of refinement on validation subjects ("psnr_gain_db").
    poses: fit the views' poses, too, and take them where that helps.
    record: applied, reason, measured (whether there were such figures), relative_residual (before, after,
    target) of the fitted rays, held_out_residual (before, after), iterations, stopped, rms_change_hu,
    settings; with `poses` also "poses": applied, reason, views, and the held-out residuals with and without.
    """
    settings = settings or ConsistencySettings()
    record: dict[str, Any] = {"applied": False, "reason": "", "settings": asdict(settings)}
    record["measured"] = (measured or {}).get("psnr_gain_db") is not None
    unfit = _why_not(inputs, measured)
    if unfit:
        if poses:
            record["poses"] = {"applied": False, "reason": "the volume is not refined"}
        return Refined(volume, list(inputs), {**record, "reason": unfit})

    # chosen once: neither the poses nor the volume are fitted to them
    blocks = _blocks((1, len(inputs), *inputs[0].array.shape), seed)

    def move(pictures: Sequence[Radiograph]) -> _Moved:
        return _moved(volume, pictures, deviation, settings, blocks, progress)

    moved, taken = move(inputs), list(inputs)
    if poses:
        moved, taken, record["poses"] = _with_poses(volume, inputs, blocks, moved, move, progress)
    record |= moved.facts
    reason = _why_undone(moved.facts)
    if reason:
        return Refined(volume, list(inputs), {**record, "reason": reason})
    record |= {"applied": True, "reason": "it explains rays that were left out better"}
    return Refined(moved.volume, taken, record)


def _with_poses(
    volume: Volume,
    inputs: Sequence[Radiograph],
    blocks: np.ndarray,
    plain: _Moved,
    move: Callable[[Sequence[Radiograph]], _Moved],
    progress: ProgressCallback | None,
) -> tuple[_Moved, list[Radiograph], dict[str, Any]]:
    """The better of the volumes moved with the recorded poses (`plain`) and with fitted ones, its
    radiographs, and what is told of the poses."""
    from xrecon.trust.poses import fitted_poses

    found = fitted_poses(volume, inputs, blocks[0], progress)
    told = {**found.record, "applied": False}
    if found.inputs is None:
        return plain, list(inputs), told
    moved = move(found.inputs)
    # with other poses other rays pass the volume: compared are those that do with both
    rays = plain.left_out & moved.left_out
    without, with_them = plain.residual(rays), moved.residual(rays)
    told["held_out_residual"] = {"without": without, "with": with_them}
    undone = _why_undone(moved.facts)
    if undone or not with_them <= (1.0 - LEAST_GAIN) * without:
        told["reason"] = undone or "rays that were left out are explained no better with the fitted poses"
        return plain, list(inputs), told
    told |= {"applied": True, "reason": "rays that were left out are explained better with them"}
    return moved, found.inputs, told


def _why_not(inputs: Sequence[Radiograph], measured: Mapping[str, Any] | None) -> str:
    shown = [r.view for r in inputs if r.quantity is not Quantity.LINE_INTEGRAL]
    if shown:
        return f"not line integrals but pictures without an absolute scale: {', '.join(shown)}"
    gain = (measured or {}).get("psnr_gain_db")
    if gain is not None and gain <= 0:
        return f"it did not help this model on validation subjects ({gain:.2f} dB)"
    return ""


def _why_undone(facts: Mapping[str, Any]) -> str:
    if facts["iterations"] == 0:
        return "the radiographs are explained as far as the voxel size allows"
    before, after = (facts["held_out_residual"][k] for k in ("before", "after"))
    if not after <= (1.0 - LEAST_GAIN) * before:
        return "rays that were left out are explained no better"
    if facts["rms_change_hu"] > LARGEST_MOVE_HU:
        moved = f"the volume would move by {facts['rms_change_hu']:.0f} HU"
        return f"{moved}: the radiographs contradict each other"
    return ""


def _moved(
    volume: Volume,
    inputs: Sequence[Radiograph],
    deviation: Volume | None,
    settings: ConsistencySettings,
    blocks: np.ndarray,
    progress: ProgressCallback | None,
) -> _Moved:
    import torch

    from xrecon.physics.attenuation import attenuation_to_hu, hu_to_attenuation, water_attenuation
    from xrecon.physics.data_consistency import move_to_projections
    from xrecon.physics.projector import Projector

    def tell(number: int, residual: float) -> None:
        if progress is not None:
            progress("refine", number / settings.iterations, f"residual {residual:.4f}")

    whole, inner = with_margin(volume)
    projector = Projector.of_volume([r.geometry for r in inputs], whole)
    projections = torch.as_tensor(np.stack([r.array for r in inputs]), dtype=torch.float32)[None]
    hu = torch.as_tensor(np.ascontiguousarray(whole.array, dtype=np.float32))
    start = hu_to_attenuation(hu, REPROJECTION_ENERGY_KEV)[None, None]
    seen = torch.as_tensor(np.stack([r.seen for r in inputs]))[None]
    rays = usable_rays(projector, projections) & seen
    left_out = rays & torch.as_tensor(blocks)
    may_move = torch.as_tensor(_deviation_hu(volume, deviation, inner))[None, None]
    per_mm = may_move * (water_attenuation(REPROJECTION_ENERGY_KEV) / 1000.0)
    done = move_to_projections(start, projections, projector, per_mm, rays & ~left_out, settings, tell)
    array = attenuation_to_hu(done.volume, REPROJECTION_ENERGY_KEV)[0, 0].clip(None, HU_CEILING)
    array = array.numpy()[inner]
    # nothing attenuates less than -1000 HU: what lay below and stays air keeps its number
    array = np.where((volume.array < -1000.0) & (array <= -1000.0), volume.array, array)
    before, after = projector(start), projector(done.volume)
    held = [_residual(projected, projections, left_out) for projected in (before, after)]
    body = volume.array > AIR_BELOW_HU
    change = (array - volume.array)[body]
    facts = {
        "iterations": len(done.residuals) - 1,
        "stopped": done.stopped,
        "relative_residual": {
            "before": done.residuals[0], "after": done.residuals[-1], "target": settings.target,
        },
        "held_out_residual": {"before": held[0], "after": held[1]},
        "rms_change_hu": float(np.sqrt(np.mean(change.astype(np.float64) ** 2))) if change.size else 0.0,
    }  # fmt: skip
    note = f"moved towards its radiographs in {facts['iterations']} steps"
    moved = volume.with_array(array.astype(np.float32), refinement=note)
    return _Moved(moved, facts, after, projections, left_out)


def usable_rays(projector: Any, projections: Any) -> Any:
    """Which pixels a volume's projections can be compared in, bool tensor (1, view, row, column).

    Those with tissue whose rays the grid holds nearly from end to end: `FIELD_SHARE` of the longest way.
    """
    import torch

    with torch.no_grad():
        way = projector(torch.ones(1, 1, *projector.volume_shape, dtype=projections.dtype))
    longest = way.amax(dim=(2, 3), keepdim=True)
    return (way >= FIELD_SHARE * longest) & (projections >= TISSUE_LINE_INTEGRAL)


def _blocks(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Bool (1, view, row, column): blocks of pixels that are left out of the fit."""
    if len(shape) != 4:
        raise InputError(f"expected pixels (1, view, row, column), got {shape}")
    small = (shape[0], shape[1], *(-(-n // BLOCK_PIXELS) for n in shape[2:]))
    chosen = np.random.default_rng(seed).random(small) < LEFT_OUT
    return chosen.repeat(BLOCK_PIXELS, axis=2).repeat(BLOCK_PIXELS, axis=3)[:, :, : shape[2], : shape[3]]


def with_margin(volume: Volume) -> tuple[Volume, tuple[slice, slice, slice]]:
    """The volume continued by the values at its faces, and where it lies in that."""
    counts = [round(MARGIN_MM / size) for size in volume.spacing]
    array = np.pad(np.asarray(volume.array), [(n, n) for n in counts], mode="edge")
    origin = volume.index_to_world(-np.array(counts[::-1], dtype=np.float64))
    inner = tuple(slice(n, n + size) for n, size in zip(counts, volume.shape, strict=True))
    return replace(volume, array=array, origin=tuple(origin)), inner


def _deviation_hu(volume: Volume, deviation: Volume | None, inner: tuple[slice, slice, slice]) -> np.ndarray:
    """How far the voxels may move against each other, float32 on the grid with its margin."""
    if deviation is None:
        within = np.where(volume.array > AIR_BELOW_HU, 1.0, AIR_SHARE)
    elif deviation.same_grid(volume):
        within = np.asarray(deviation.array)
    else:
        raise InputError(f"expected deviations on the grid {volume.shape}, got {deviation.shape}")
    spread = np.pad(within, [(s.start, s.start) for s in inner], mode="edge") * MARGIN_DEVIATION
    spread[inner] = within
    return spread.astype(np.float32)


def _residual(projected: Any, projections: Any, rays: Any) -> float:
    size = float((projections * rays).norm())
    return float(((projected - projections) * rays).norm()) / size if size else float("nan")
