# DSSN's schedule on VOC, 4 GPUs of 2 + 2 images; COCO and ImageNet-S take it over.
crop_size = 513
resize_scale = (500, 500)  # the longer side; it is scaled by 0.5 to 2
labelled_batch = 2  # images on each GPU
unlabelled_batch = 2  # the same, and as many that are mixed in
epochs = 100  # passes over the unlabelled images
selection = 'class_aware'
strong_from_epoch = 0
loss_stride = 1
base_lr = 0.002
head_lr_factor = 10
iterations = 115800  # of the baseline, as many as DSSN makes for split 1_8
checkpoint_iterations = 2000  # of the baseline
