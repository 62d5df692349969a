"""`python -m xrecon` is the `xrecon` command; Slicer starts its background jobs this way."""

from xrecon.cli import main

if __name__ == "__main__":
    main()
