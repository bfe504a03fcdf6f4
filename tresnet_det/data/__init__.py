"""Data sets: annotation checks, downloads, subsets, drawn data."""
