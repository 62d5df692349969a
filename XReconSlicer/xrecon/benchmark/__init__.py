"""All methods side by side under one budget: `xrecon benchmark`."""

# Minutes of processor time in which a method may train: usually, and with --quick, which takes all
# methods end to end on two processors in less than an hour.
MINUTES, QUICK_MINUTES = 60.0, 2.0
