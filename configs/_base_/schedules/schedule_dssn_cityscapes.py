# DSSN's schedule on Cityscapes, 4 GPUs of 1 + 1 images.
crop_size = 801
resize_scale = (2048, 1024)  # scaled by 0.5 to 2
labelled_batch = 1  # images on each GPU
unlabelled_batch = 1  # the same, and as many that are mixed in
epochs = 240  # passes over the unlabelled images
selection = 'all'
strong_from_epoch = 5  # the teacher is a plain copy before
loss_stride = 1
base_lr = 0.005
head_lr_factor = 1
iterations = 156240  # of the baseline, as many as DSSN makes for split 1_8
checkpoint_iterations = 2000  # of the baseline
