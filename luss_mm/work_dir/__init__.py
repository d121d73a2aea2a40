"""The work directory: what is finished, what changed, and files that are there wholly or not."""
