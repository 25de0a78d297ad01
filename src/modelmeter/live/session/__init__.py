"""A session with the real model: loaded once, pages and prompts prepared, runs timed."""
