"""The real models that twins are held against: transformers' own, and the vendor's checkpoint with its code."""
