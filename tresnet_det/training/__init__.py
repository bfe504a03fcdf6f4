"""Training that checks its input, stops and goes on."""
