"""Predicted and measured scaling side by side: analytic_scaling.json and measured_scaling.json, joined by length."""
