# Learning Pseudo Labels as its authors train: their operations on images with masks, and all images
# as images with tags, those with masks too (whose masks teach there as well).
_base_ = './pct_stages.py'
training_images = dict(revisit_labelled=True)
distorting = dict(
    type='PCTOperations',
    fill=(103, 116, 123),  # the mean colour, BGR
)
