"""What a name given to `xrecon benchmark` stands for, and how it makes a CT of radiographs.

a recipe of `xrecon train`        trained from nothing within the budget
a method without training         see `xrecon.evaluation.methods`; among them the controls
a bundled model or model folder   taken as it is; not under the same budget, and the table says so
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xrecon.benchmark.cases import load_cases
from xrecon.benchmark.plan import Plan
from xrecon.evaluation.methods import Cube, Example, Method, list_methods
from xrecon.training.recipes import RECIPES
from xrecon.training.recipes_default import DEFAULT_RECIPES
from xrecon.volume import InputError

if TYPE_CHECKING:
    from xrecon.training.config import TrainConfig

# Always in the table: what knows nothing of the patient, and what only recognises another one.
CONTROLS = ("mean-volume", "nearest-subject")


def reconstruction_recipes() -> list[str]:
    """Recipes that make a volume of radiographs of a CT alone: some need label maps beside it."""

    def fits(values: Mapping[str, Any]) -> bool:
        labelled = values.get("segmentation", {}).get("source") == "files"
        return values.get("task", "reconstruction") == "reconstruction" and not labelled

    return [name for name, values in RECIPES.items() if fits(values)]


def all_methods() -> list[str]:
    """What a benchmark compares when nothing is said: every way without training, and every recipe.

    But for those of the bundled models, which are one of these architectures with other augmentation.
    """
    recipes = [name for name in reconstruction_recipes() if name not in DEFAULT_RECIPES]
    return [*list_methods(), *recipes]


def kind_of(name: str) -> str:
    """ "untrained", "recipe" or "model". Raises InputError with the list of names that can be given."""
    from xrecon.nets.registry import bundled_models, load_card

    if name in list_methods():
        return "untrained"
    if name in reconstruction_recipes():
        return "recipe"
    try:
        card = load_card(name)
    except InputError:
        card = None
    if card is None or card.output.kind != "volume":
        bundled = [model for model in bundled_models() if load_card(model).output.kind == "volume"]
        known = [*all_methods(), *bundled]
        raise InputError(f"expected a method out of {known} or a reconstruction model's folder, got {name!r}")
    return "model"


def weights_digest(name: str) -> str:
    """SHA-256 of a model's weights as its card gives it; "" for what is not a model (any more)."""
    from xrecon.nets.registry import load_card

    if name in list_methods() or name in reconstruction_recipes():
        return ""
    try:
        return load_card(name).sha256
    except InputError:
        return ""


def short_name(name: str) -> str:
    """A method's name for pictures and pages: of a model folder the last two parts."""
    return "/".join(Path(name).parts[-2:])


def untrained(name: str, plan: Plan, folder: Path) -> Method:
    """A method without training; its examples are the training CTs of the benchmark's store.

    The one that is fitted to each patient has the budget for all test cases and one example together.
    """
    from xrecon.methods import reconstruction_method

    options, train = {}, plan.train
    if name == "attenuation-field":
        seconds = 60.0 * plan.minutes / (plan.case_count + 1)
        options, train = {"steps": plan.steps} if plan.steps else {"seconds": seconds}, plan.train[:1]
    examples = [Example(case.name, case.radiographs, case.truth) for case in load_cases(folder, train)]
    return reconstruction_method(name, Cube(plan.side, plan.spacing_mm), examples, **options)


def recipe_config(name: str, plan: Plan, steps: int) -> TrainConfig:
    """A recipe at the benchmark's grid, for so many steps, without what costs time beside training."""
    from xrecon.training.config import make_config

    ratio = 2  # the CT that is projected has half the voxel size
    overrides: dict[str, Any] = {
        "grid": {
            "side": plan.side,
            "spacing_mm": plan.spacing_mm,
            "source_side": ratio * plan.side + 16,
            "source_spacing_mm": plan.spacing_mm / ratio,
        },
        "steps": steps,
        "name": name,
        "seed": plan.seed,
        "device": plan.device,
        "pneumothorax_variants": 1,
        "validate_every": steps,
        "sample_every_epochs": 0,
    }
    return make_config(name, overrides={**overrides, **plan.settings})
