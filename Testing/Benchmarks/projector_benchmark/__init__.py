"""Parts of the projector benchmark; `projector.py` beside this folder is the command."""
