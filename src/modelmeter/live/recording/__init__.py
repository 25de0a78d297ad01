"""A real module run under a dispatch mode, and what it ran as a trace."""
