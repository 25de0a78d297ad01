"""The named studies: what is varied, in which stages. Each function asks `sweep` and gives a `Study`."""
