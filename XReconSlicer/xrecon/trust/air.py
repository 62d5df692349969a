"""What PTX-Seg's answer on a reconstruction is worth, as the card of the model that made it says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xrecon.nets.card import ModelCard
from xrecon.nets.registry import bundled_models, load_card
from xrecon.provenance import is_reconstructed

# Overlap with the true air, a mean over cases, below which neither "air" nor "no air" is an answer.
USABLE_DICE = 0.5


def air_warnings(meta: Mapping[str, str]) -> list[str]:
    """One sentence for a CT that a bundled model reconstructed and whose card has cases with air, else [].

    meta: of the volume; `xrecon.pipelines.reconstruct` writes the model and the SHA-256 of its weights there.
    """
    card = _card_of(meta)
    if card is None:
        return []
    measured = (card.quality.get("test") or {}).get("pneumothorax") or {}
    cases = [case for case in measured.get("cases") or () if case.get("air_true_ml")]
    return [_sentence(card.name, cases, measured)] if cases else []


def _card_of(meta: Mapping[str, str]) -> ModelCard | None:
    """The card of the bundled model whose weights made the volume; None for any other volume."""
    name, weights = meta.get("model", ""), meta.get("model_sha256", "")
    if not (is_reconstructed(meta) and weights and name in bundled_models()):
        return None
    card = load_card(name)
    return card if card.sha256 == weights else None


def _sentence(model: str, cases: list[Mapping[str, Any]], measured: Mapping[str, Any]) -> str:
    true, found = (sum(case.get(name) or 0.0 for case in cases) for name in ("air_true_ml", "air_ml"))
    dice = sum(case.get("air_dice") or 0.0 for case in cases) / len(cases)
    told = (
        f"In reconstructions by {model} of {len(cases)} held-out CTs with a synthetic pneumothorax PTX-Seg "
        f"found {found:.0f} of {true:.0f} ml of air (mean Dice {dice:.2f})"
    )
    shown = measured.get("shown_percent")
    if shown is not None:
        told += f"; where the air was, they had {round(shown)} % of the darkening of the CT"
    if dice >= USABLE_DICE:
        return f"{told}. Occupancy is an estimate from a reconstruction."
    return (
        f"{told}. That no air is found here does not mean that there is none, and air that is found need not "
        "be a pneumothorax: look at the radiographs."
    )
