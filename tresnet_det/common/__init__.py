"""What every wing uses: errors, whole files, command lines."""
