"""A tree fitted to what a container holds, and brought back from it."""
