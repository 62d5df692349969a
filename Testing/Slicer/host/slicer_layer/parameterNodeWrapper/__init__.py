"""`slicer.parameterNodeWrapper`: typed access to a parameter node, written from Slicer's documentation.

Covers int, float, str, bool, Enum, pathlib paths, MRML nodes, list/tuple/dict of those, Optional/Union,
parameter packs, validators and the connection to widgets.  `createGui`, FloatRange and custom serializers are
not covered.
"""

from .annotations import (
    Choice,
    Decimals,
    Default,
    Exclude,
    IsInstance,
    Maximum,
    Minimum,
    NotNone,
    SingleStep,
    Validator,
    WithinRange,
)
from .packs import parameterPack
from .wrapper import parameterNodeWrapper

__all__ = [
    "Choice",
    "Decimals",
    "Default",
    "Exclude",
    "IsInstance",
    "Maximum",
    "Minimum",
    "NotNone",
    "SingleStep",
    "Validator",
    "WithinRange",
    "parameterNodeWrapper",
    "parameterPack",
]
