"""The parameters of PTX-Seg, named as in the paper's Algorithm 1."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, NonNegativeInt, ValidationError

from xrecon.volume import InputError

HounsfieldUnit = Annotated[float, Field(ge=-2000.0, le=4000.0, allow_inf_nan=False)]
Radius = Annotated[float, Field(ge=0.0, le=100.0, allow_inf_nan=False)]
Seed = tuple[NonNegativeInt, NonNegativeInt, NonNegativeInt]


class Parameters(BaseModel):
    """Settings of one mode, checked; subclasses have the fields. called: what messages call them."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)
    called: ClassVar[str] = "parameters"

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Self:
        """From names and values (a JSON object, `--set` of the command line).

        Raises InputError with the fields that are wrong, what was expected and what came.
        """
        try:
            return cls(**dict(settings))
        except ValidationError as error:
            faults = [
                f"{'.'.join(str(p) for p in e['loc'])}: {e['msg']}, got {e['input']!r}"
                for e in error.errors()
            ]
            raise InputError(f"{cls.called}: " + "; ".join(dict.fromkeys(faults))) from error


class PtxParameters(Parameters):
    """Thresholds in HU, balls in mm, volumes in ml. The paper gives t_p and v_t only; the other values
    and every reading of the paper are this project's (see `xrecon.pneumothorax.algorithm1`).

    Fields can also be given with the paper's capital letters (K_l, K_b, K_p, T). Raises pydantic's
    ValidationError naming the field; `from_settings` raises InputError instead.
    """

    called: ClassVar[str] = "PTX-Seg parameters"

    t_b: HounsfieldUnit = Field(-500.0, description="body threshold, HU: body is at or above")
    k_b: Radius = Field(
        10.0, validation_alias=AliasChoices("k_b", "K_b"),
        description="ball that closes the body, mm: must seal airway openings, 0 switches off",
    )
    k_l: Radius = Field(
        5.0, validation_alias=AliasChoices("k_l", "K_l"),
        description="ball that closes the union of lung masks, mm, 0 switches off",
    )
    t_p: HounsfieldUnit = Field(-950.0, description="air threshold, HU: air is below")
    k_p: Radius = Field(
        2.0, validation_alias=AliasChoices("k_p", "K_p"),
        description="ball that closes the air, mm, 0 switches off",
    )
    v_t: float = Field(
        10.0, ge=0.0, allow_inf_nan=False, description="a piece of air counts above this volume, ml"
    )
    connectivity: Literal[6, 18, 26] = Field(
        6, validation_alias=AliasChoices("connectivity", "T"),
        description="growing pattern T: neighbours of a voxel when flooding from the seeds",
    )
    seeds: Literal["two corners", "eight corners"] | tuple[Seed, ...] = Field(
        "two corners",
        description="where the outside air is flooded from: corners, or voxel indices (z, y, x) of the array",
    )
    stay_inside: bool = Field(
        False, description="departs from the paper: cut the closed air back to lung and body"
    )
    smooth_mm: float = Field(
        0.0, ge=0.0, le=20.0, allow_inf_nan=False,
        description="departs from the paper: standard deviation of a Gaussian before t_p, mm, for noisy CTs",
    )
