"""Files and DICOM in and out; the only room besides training, reports and weights that touches files."""
