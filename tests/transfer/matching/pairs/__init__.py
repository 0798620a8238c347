"""Models written by hand in both frameworks, with the names that people give; judged by their forward passes."""
