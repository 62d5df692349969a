"""Writes XReconSlicer/xrecon/nets/costs.json: what every architecture costs with its default options.

Run by hand after a change of a network: python Resources/Tables/count_costs.py (takes a minute). A test
compares the file with the networks.
"""

from __future__ import annotations

import json

from xrecon.nets.cost import count_cost
from xrecon.nets.registry import COSTS, list_models


def main() -> None:
    """Counts and writes."""
    costs = {name: count_cost(name).to_dict() for name in list_models()}
    COSTS.write_text(json.dumps(costs, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
