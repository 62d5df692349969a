"""What the three XRecon modules share; the only code of the project that knows MRML and Qt.

Imported lazily by the modules, because Slicer may not have `xrecon`'s own packages yet.
"""
