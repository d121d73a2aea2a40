# DSSN on some hundred small images without a GPU.
crop_size = 96
resize_scale = ('${resize_side * 8}', '${resize_side}')  # short side; it is scaled by 0.5 to 2
labelled_batch = 8
unlabelled_batch = 8  # and as many that are mixed in
epochs = 33  # passes over the unlabelled images
selection = 'class_aware'
strong_from_epoch = 0
loss_stride = 1
base_lr = 1e-3
head_lr_factor = 3
# The published 0.004 averages over 250 iterations, too many for so short a training.
teacher_momentum = 0.01
iterations = 1881  # of the baseline, as many as DSSN makes with 452 images
checkpoint_iterations = 100  # of the baseline
