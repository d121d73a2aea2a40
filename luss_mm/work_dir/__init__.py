"""The work directory: what is finished, what changed, and files that are there wholly or not."""

ON_CHANGE = ('redo', 'keep', 'stop')  # what becomes of an output made with other settings
