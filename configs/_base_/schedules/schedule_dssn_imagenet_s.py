# DSSN on ImageNet-S, 4 GPUs of 8 + 8 images. Nothing is published: crops as in ImageNetSegModel,
# rates as on VOC, passes for some 20,000 iterations.
crop_size = 224
resize_scale = ('${resize_side * 8}', '${resize_side}')  # short side; it is scaled by 0.5 to 2
labelled_batch = 8  # images on each GPU
unlabelled_batch = 8  # the same, and as many that are mixed in
epochs = 10  # passes over the unlabelled images
selection = 'class_aware'
strong_from_epoch = 0
loss_stride = 1
base_lr = 0.002
head_lr_factor = 10
iterations = 20140  # of the baseline, as many as DSSN makes
checkpoint_iterations = 2000  # of the baseline
