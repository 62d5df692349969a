"""Methods by name: those of `xrecon.evaluation.methods`, and trained models, under the same call.

    method = reconstruction_method("sirt", cube, examples)     or reconstruction_method("lifting-64")
    volume = method(radiographs)

What a method is, which names there are, and what examples are stands in `xrecon.evaluation.methods`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xrecon.evaluation.methods import Cube, Example, Method, create_method, list_methods
from xrecon.pipelines import reconstruct
from xrecon.volume import InputError, Radiograph, Volume


def reconstruction_method(
    name: str | Path,
    cube: Cube | None = None,
    examples: Sequence[Example] = (),
    device: str = "auto",
    **options: Any,
) -> Method:
    """Any way from radiographs to a CT under one call (see `xrecon.evaluation.methods`).

    name: one of `list_methods()`, or a trained model as `reconstruct` takes it; a model has its own cube
    and needs neither examples nor options. Raises InputError for what is neither, or options it has not.
    """
    if str(name) in list_methods():
        return create_method(str(name), cube, examples, **options)
    if options:
        raise InputError(f"expected no options for the model {name}, got {sorted(options)}")
    return _ModelMethod(name, device)


class _ModelMethod:
    """A trained model as a `Method`."""

    def __init__(self, model: str | Path, device: str) -> None:
        from xrecon.nets.registry import load_card

        card = load_card(model)
        if card.output.kind != "volume":
            raise InputError(f"expected a model that makes a volume, got {card.name}")
        self.model, self.device, self.name = model, device, card.name
        self.cube = Cube(card.output.side, card.output.spacing_mm)

    def __call__(self, radiographs: Sequence[Radiograph]) -> Volume:
        return reconstruct(radiographs, self.model, self.device).volume
