"""The static analyser: what the real model is made of and runs, stage by stage, beside its analytic twin."""
