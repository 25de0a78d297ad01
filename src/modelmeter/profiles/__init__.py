"""Profiles that other tools wrote: kernels with their time, kind and stage, and what the twin predicts for them."""
