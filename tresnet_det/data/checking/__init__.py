"""Looks at a whole data set and says all that is wrong at once, see ``check``."""
