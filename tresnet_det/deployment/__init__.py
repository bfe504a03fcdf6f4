"""From a checkpoint to one verified file that runs anywhere."""
