"""Published weights: files, formats, names and archs."""
