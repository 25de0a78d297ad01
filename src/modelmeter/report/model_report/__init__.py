"""The report of a model on documents: its data, how it is built, and the folder it is written to."""
