"""Shadow runs: hooks on a real model read its shapes, and the analytic model says what they cost."""
