# Slicer's file of this role declares the package; nothing is packaged in the test.
