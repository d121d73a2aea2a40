# DSSN on some hundred small images without a GPU.
crop_size = 96
resize_scale = ('${resize_side * 8}', '${resize_side}')  # short side; it is scaled by 0.5 to 2
labelled_batch = 8
unlabelled_batch = 8  # and as many that are mixed in
epochs = 6  # passes over the unlabelled images
selection = 'class_aware'
strong_from_epoch = 0
loss_stride = 1
base_lr = 0.0003
head_lr_factor = 10
iterations = 342  # of the baseline, as many as DSSN makes with 452 images
checkpoint_iterations = 100  # of the baseline
