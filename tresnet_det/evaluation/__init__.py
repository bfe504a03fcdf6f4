"""COCO figures of what a detector found."""
