"""What is done to a training to see whether it holds."""
