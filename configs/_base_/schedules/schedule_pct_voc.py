# Learning Pseudo Labels on VOC: the authors' numbers, for one GPU.
crop_size = 384
loss_stride = 1

# Stage 1: as many images with masks as with tags.
labelled_batch = 5
tagged_batch = 5
iterations = 20000
base_lr = 1e-3
weight_decay = 4e-5
classifier_lr_factor = 10  # of the last convolution
strong_operations = 2  # on images with masks, and in stage 2 on all

# Stage 2.
label_network = 'hybrid'
label_scales = (0.5, 0.75, 1.0, 1.25, 1.5)
label_flip = True
label_average = 'logits'  # as the authors average the scales
label_batch_size = 8
retrain_batch_size = 16
retrain_iterations = 30000
retrain_lr = 7e-3

validation_tags = None  # None: those of the validation masks; a file as for image_tags
training_resizing = None  # of all training images, before they are cropped
tagged_label_loading = '${label_loading}'  # for tags='masks'
whole_resizing = None
whole_label_loading = dict(
    type='LoadIndexedLabelMap', ignore_index='${ignore_index}', match_image=False
)
whole_tagged_label_loading = '${whole_label_loading}'
