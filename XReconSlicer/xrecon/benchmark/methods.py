"""What a name given to `xrecon benchmark` stands for, and how it makes a CT of radiographs.

a recipe of `xrecon train`        trained from nothing within the budget
a bundled model or model folder   taken as it is; not under the same budget, and the table says so
"mean volume", "nearest subject"  the controls, which are always in the table
a method without training         see `UNTRAINED`
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from xrecon.benchmark.cases import Case, load_cases
from xrecon.benchmark.plan import Plan
from xrecon.training.recipes import RECIPES
from xrecon.volume import InputError, Radiograph, Volume

if TYPE_CHECKING:
    from xrecon.training.config import TrainConfig

Method = Callable[[Sequence[Radiograph]], Volume]
MEAN, NEAREST = "mean volume", "nearest subject"
CONTROLS = (MEAN, NEAREST)


def reconstruction_recipes() -> list[str]:
    """Recipes that make a volume of radiographs."""
    return [
        name for name, values in RECIPES.items() if values.get("task", "reconstruction") == "reconstruction"
    ]


def kind_of(name: str) -> str:
    """ "control", "recipe" or "model". Raises InputError with the list of names that can be given."""
    from xrecon.nets.registry import bundled_models, load_card

    if name in CONTROLS:
        return "control"
    if name in reconstruction_recipes():
        return "recipe"
    try:
        card = load_card(name)
    except InputError:
        card = None
    if card is None or card.output.kind != "volume":
        known = [*CONTROLS, *reconstruction_recipes(), *_volume_models(bundled_models())]
        raise InputError(f"expected a method out of {known} or a reconstruction model's folder, got {name!r}")
    return "model"


def _volume_models(names: Sequence[str]) -> list[str]:
    from xrecon.nets.registry import load_card

    return [name for name in names if load_card(name).output.kind == "volume"]


# -- controls ------------------------------------------------------------------------------------
def control(name: str, plan: Plan, folder: Path) -> Method:
    """A control as a method: it knows the training CTs of the same store only."""
    training = list(load_cases(folder, plan.train))
    if not training:
        raise InputError("expected training CTs for the controls, got none that could be projected")
    if name == MEAN:
        mean = np.mean([case.truth.array for case in training], axis=0)
        return lambda radiographs: _placed(mean, plan, radiographs)
    return nearest(plan, training)


def nearest(plan: Plan, training: Sequence[Case]) -> Method:
    """The training CT whose radiographs differ least, root mean square of the normalised pictures."""
    seen = [_pictures(case.radiographs) for case in training]

    def method(radiographs: Sequence[Radiograph]) -> Volume:
        wanted = _pictures(radiographs)
        best = int(np.argmin([np.square(wanted - other).mean() for other in seen]))
        return _placed(training[best].truth.array, plan, radiographs)

    return method


def _pictures(radiographs: Sequence[Radiograph]) -> np.ndarray:
    from xrecon.preprocess.radiograph import network_input, normalize

    inputs = [network_input(r, (64, 64), (6.8, 6.8)) for r in radiographs]
    return np.stack([normalize(r.array) for r in inputs])


def _placed(array: np.ndarray, plan: Plan, radiographs: Sequence[Radiograph]) -> Volume:
    """An array on the benchmark's grid about the isocentre of the radiographs."""
    from xrecon.preprocess.views import common_isocenter

    spacing = (plan.spacing_mm,) * 3
    first = common_isocenter(radiographs) - (plan.side - 1) / 2.0 * np.array(spacing)
    return Volume(array.astype(np.float32), spacing, tuple(first))


# -- networks ------------------------------------------------------------------------------------
def model_method(model: str | Path, device: str) -> Method:
    """A model's reconstruction, as `xrecon reconstruct` makes it."""
    from xrecon.pipelines import reconstruct

    return lambda radiographs: reconstruct(radiographs, model, device).volume


def recipe_config(name: str, plan: Plan, steps: int) -> TrainConfig:
    """A recipe at the benchmark's grid, for so many steps, without what costs time beside training."""
    from xrecon.training.config import make_config

    ratio = 2  # the CT that is projected has half the voxel size
    grid: dict[str, Any] = {
        "side": plan.side,
        "spacing_mm": plan.spacing_mm,
        "source_side": ratio * plan.side + 16,
        "source_spacing_mm": plan.spacing_mm / ratio,
    }
    overrides = {
        "grid": grid,
        "steps": steps,
        "name": name,
        "seed": plan.seed,
        "device": plan.device,
        "pneumothorax_variants": 1,
        "validate_every": steps,
        "sample_every_epochs": 0,
        **plan.settings,
    }
    return make_config(name, overrides=overrides)
