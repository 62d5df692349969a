"""XRecon: CT volumes from two chest radiographs, and the pneumothorax in them.

Research software, not a medical device. `import xrecon` loads no torch: import the room you
need, e.g. `xrecon.io.image` or `xrecon.pipelines`.
"""

__version__ = "0.1.0"
