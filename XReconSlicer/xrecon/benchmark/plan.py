"""What a benchmark does, fixed and written down before anything is trained."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, ValidationError

from xrecon.benchmark import MINUTES
from xrecon.io.atomic import atomic_write_text
from xrecon.training.subjects import Subject
from xrecon.volume import InputError

PLAN = "plan.json"
# Edge of the reconstructed cube in mm: 64 voxels of 5.6 mm, 128 of 2.8 mm, 224 of 1.6 mm.
FIELD_MM = 358.4
Fraction = Annotated[float, Field(ge=0.0, le=0.9)]


class Plan(BaseModel):
    """A benchmark's settings; see `xrecon benchmark --help`.

    train, test: names of the CTs, no patient in both; contents: the SHA-256 of each. minutes: processor
    time that each method may train; steps: instead, the same number for all. side: voxels per edge.
    pneumothorax: share of the hemithorax that the synthetic pneumothorax of each test CT's second case
    takes; 0 for none.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    methods: tuple[str, ...] = Field(min_length=1)
    train: tuple[str, ...]
    test: tuple[str, ...] = Field(min_length=1)
    contents: dict[str, str] = Field(default_factory=dict)
    side: int = Field(64, ge=16, le=256, multiple_of=16)
    minutes: PositiveFloat = MINUTES
    steps: int | None = Field(None, ge=1)
    seed: int = Field(0, ge=0)
    pneumothorax: Fraction = 0.35
    lungs: str = Field("lungs-unet", description='lung model of PTX-Seg, or "classical"')
    device: str = "auto"
    settings: dict[str, Any] = Field(default_factory=dict, description="of training, for every recipe")

    @property
    def spacing_mm(self) -> float:
        """Voxel size of the grid on which all methods are compared."""
        return FIELD_MM / self.side

    @property
    def case_count(self) -> int:
        """Test cases: each test CT as it is and, where there is a share, with a pneumothorax."""
        return len(self.test) * (2 if self.pneumothorax else 1)


def make_plan(**values: Any) -> Plan:
    """A validated plan. Raises InputError naming every wrong field."""
    try:
        return Plan(**values)
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(map(str, e['loc']))}: {e['msg']}, got {e['input']!r}" for e in error.errors()
        )
        raise InputError(f"the benchmark cannot be planned: {wrong}") from error


def choose_split(
    subjects: Sequence[Subject], test: Sequence[str] | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names to train on and to test on.

    test: names of the test CTs; None takes those whose split is "test" in subjects.csv. A patient's other
    CTs are then left out of training. Raises InputError for unknown names or an empty part.
    """
    if test:
        unknown = sorted(set(test) - {s.name for s in subjects})
        if unknown:
            raise InputError(f"expected test CTs out of {[s.name for s in subjects]}, got {unknown}")
        chosen = [s for s in subjects if s.name in test]
    else:
        chosen = [s for s in subjects if s.split == "test"]
    if not chosen:
        raise InputError(
            "expected test CTs: name them with --test, or give a subjects.csv with rows of the split 'test'"
        )
    patients = {s.patient for s in chosen}
    train = [s for s in subjects if s.patient not in patients and s.split != "test"]
    if not train:
        raise InputError("expected CTs of other patients to train on, got none")
    return tuple(s.name for s in train), tuple(s.name for s in chosen)


def fix_plan(plan: Plan, folder: Path) -> Plan:
    """Writes the plan, or finds the same one there: a benchmark that was stopped goes on.

    The methods may grow from run to run; everything else decides the figures and must stay, what the CTs
    hold included. Raises InputError naming what differs.
    """
    path = folder / PLAN
    if path.is_file():
        before = read_plan(folder)
        mine, theirs = plan.model_dump(mode="json"), before.model_dump(mode="json")
        exchanged = sorted(n for n, held in before.contents.items() if plan.contents.get(n, held) != held)
        if exchanged:
            raise InputError(
                f"expected the CTs of the benchmark in {folder}, got others under the names "
                f"{', '.join(exchanged)}: choose another folder"
            )
        free = ("methods", "contents")
        changed = sorted(name for name in mine if name not in free and mine[name] != theirs[name])
        if changed:
            told = ", ".join(f"{name}: {theirs[name]!r} before, {mine[name]!r} now" for name in changed)
            raise InputError(f"expected the plan of the benchmark in {folder}, got another ({told})")
    atomic_write_text(path, json.dumps(plan.model_dump(mode="json"), indent=1) + "\n")
    return plan


def read_plan(folder: Path) -> Plan:
    """The plan of a benchmark's folder. Raises InputError when there is none or it is damaged."""
    path = Path(folder) / PLAN
    try:
        return Plan.model_validate_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"expected a benchmark's {PLAN} in {folder}") from error
    except ValidationError as error:
        raise InputError(f"the plan {path} cannot be used: {error}") from error
