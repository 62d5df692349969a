"""What the stages of `xrecon.trust` found, in lines for people: command line, report and panel alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def trust_lines(trust: Mapping[str, Any]) -> list[str]:
    """The lines of a result's `trust`, the agreement first; empty for none. No part need be there."""
    lines = []
    agreement = trust.get("reprojection")
    if agreement:
        score = agreement["score"]
        told = "not calibrated" if score is None else f"{score:.2f}"
        lines.append(f"Reprojection score: {told}. {agreement['meaning']}")
    beams = trust.get("ray_support")
    if beams:
        lines.append(_beams(beams))
    error = trust.get("uncertainty")
    if error:
        kind = "calibrated" if error["calibrated"] else "not calibrated"
        lines.append(f"Uncertainty of voxels: {error['is']}; {kind}.")
    moved = trust.get("refinement")
    if moved and moved.get("reason") != "not asked for":
        lines.append(_refinement(moved))
        if "poses" in moved:
            lines.append(_poses(moved["poses"]))
    return [*lines, *trust.get("lesions", ())]


def _beams(beams: Mapping[str, Any]) -> str:
    outside = 100 * beams["share_outside_every_beam"]
    crossed = 100 * beams["share_well_crossed"]
    free = 100 * beams["undetermined_share_at_least"]
    return (
        f"Beams: {crossed:.0f} % of the voxels lie where two cross well, {outside:.0f} % in none. The "
        f"model is given {beams['rays']} rays through {beams['voxels']} voxels: at least {free:.0f} % of the "
        "volume's numbers are not determined by them."
    )


def _refinement(moved: Mapping[str, Any]) -> str:
    if not moved["applied"]:
        return f"Refinement not applied: {moved['reason']}."
    before, after = (100 * moved["held_out_residual"][when] for when in ("before", "after"))
    unknown = " Whether that helps this model with so many views was not measured."
    return (
        f"Refined in {moved['iterations']} steps: rays that were left out are explained to "
        f"{after:.1f} % instead of {before:.1f} %, the volume moved by {moved['rms_change_hu']:.0f} HU."
        + ("" if moved.get("measured", True) else unknown)
    )


def _poses(poses: Mapping[str, Any]) -> str:
    if not poses["applied"]:
        return f"Poses left as they were: {poses['reason']}."
    without, with_them = (100 * poses["held_out_residual"][when] for when in ("without", "with"))
    return (
        f"Poses refined: with them rays that no fit has seen are explained to {with_them:.1f} %, without to "
        f"{without:.1f} %. {'; '.join(poses['text'])}."
    )
