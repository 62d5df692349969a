"""All methods side by side under one budget: `xrecon benchmark`."""
