"""Profiles from outside: what was measured beside what is predicted, as data, tables and files."""
