"""The parameters of PTX-Seg's robust mode."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from xrecon.pneumothorax.parameters import Parameters

Millimetre = Annotated[float, Field(ge=0.0, le=50.0, allow_inf_nan=False)]


class RobustParameters(Parameters):
    """Settings of the robust mode (`xrecon.pneumothorax.robust`); None means: measured in the CT itself.

    Raises pydantic's ValidationError naming the field; `from_settings` raises InputError instead.
    """

    called: ClassVar[str] = "PTX-Seg robust parameters"

    air_hu: float | None = Field(
        None, ge=-1200.0, le=-850.0, allow_inf_nan=False, description="free air in this CT, HU"
    )
    lung_hu: float | None = Field(
        None, ge=-1000.0, le=-300.0, allow_inf_nan=False, description="aerated lung in this CT, HU"
    )
    smooth_mm: float | None = Field(
        None, ge=0.0, le=5.0, allow_inf_nan=False,
        description="standard deviation of the Gaussian that the decisions look through, mm",
    )
    layer_mm: Millimetre = Field(
        3.0, description="thickness of the thinnest layer of air that is looked for, mm"
    )
    minimum_air_ml: float = Field(
        10.0, ge=0.0, allow_inf_nan=False, description="a piece of air counts above this volume, ml"
    )
    recover: bool = Field(
        True, description="look for pleural air that the lung mask left out"
    )
    recover_ml: float = Field(
        20.0, ge=0.0, allow_inf_nan=False, description="air outside the lung mask counts above this, ml"
    )
