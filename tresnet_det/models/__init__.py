"""The backbone, its norm and its layers, and a classifier."""
