"""Two traces of the same pass laid side by side, and the report of it."""
