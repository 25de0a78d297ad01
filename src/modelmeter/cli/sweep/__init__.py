"""`modelmeter sweep`: the named studies, sweeps of one's own, and lists of shapes."""
