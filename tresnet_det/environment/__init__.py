"""What the package runs on: versions, and the doctor."""
