"""Annotations that a trained run contradicts: a file for each kind, and the list of all, the most suspicious first."""
