"""Lungs from a list of models: networks on a device that can be used, the classical way, united."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from xrecon.pneumothorax.lungs import classical_lungs, segment_lungs, unite_lungs
from xrecon.volume import InputError, Volume

# This name among the models stands for the thresholds-and-morphology lungs that need no weights.
CLASSICAL_LUNGS = "classical"


def find_lungs(
    volume: Volume, models: Sequence[str | Path], device: str, say: Callable[[str, float, str], None]
) -> tuple[Volume, str, tuple[str, ...]]:
    """Lung masks (1 right, 2 left) on the grid of the CT, the device used and notes on it.

    models: names of bundled models, model folders, files of lungmask weights, "classical".
    device: "auto", "cpu" or "cuda".
    Raises InputError when no model is given or one cannot be used.
    """
    from xrecon.nets.device import run_on_device

    require_lung_models(models)
    networks = _networks(models)
    masks, used, notes = [], "cpu", ()
    if networks:

        def compute(place: str) -> Volume:
            return segment_lungs(volume, networks, device=place, progress=say)

        found, device_used = run_on_device(compute, device)
        used, notes = device_used.name, device_used.notes
        masks.append(found)
    if len(networks) < len(models):
        masks.append(classical_lungs(volume))
    lungs = masks[0] if len(masks) == 1 else unite_lungs(masks)
    return lungs, used, (*notes, *lungs.meta.get("lungs_note", "").splitlines())


def require_lung_models(models: Sequence[str | Path]) -> None:
    """Raises InputError when no model is given, or one is not there or finds no lungs. Reads no weights."""
    if not models:
        raise InputError("expected one or more lung models, or lungs, got neither")
    networks = _networks(models)
    if not networks:
        return
    from xrecon.nets.lungmask_unet import find_lungmask
    from xrecon.nets.registry import load_card
    from xrecon.pneumothorax.lungs_network import require_lung_card

    for model in networks:
        if find_lungmask(model) is None:
            require_lung_card(load_card(model))


def _networks(models: Sequence[str | Path]) -> list[str | Path]:
    return [m for m in models if str(m) != CLASSICAL_LUNGS]
