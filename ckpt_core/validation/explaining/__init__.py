"""The errors of frameworks, explained: what they say, and what the checkpoint says about it."""
