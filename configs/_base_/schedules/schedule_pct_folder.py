# Learning Pseudo Labels on a few hundred small images, for a small network.
_base_ = './schedule_pct_voc.py'
crop_size = 96
loss_stride = 2
labelled_batch = 8
tagged_batch = 8
iterations = 600
base_lr = 1e-2
label_batch_size = 16
label_average = 'probabilities'
retrain_iterations = 1881  # as many as supervised_folder.py
retrain_lr = 2e-2

training_resizing = dict(_delete_=True, type='ResizeShortSide', side='${resize_side}')
whole_resizing = '${training_resizing}'
tagged_label_loading = None  # tagged images come without masks
whole_label_loading = dict(_delete_=True, type='LoadLabelMap', match_image=False)
whole_tagged_label_loading = None
