# DSSN for a head on a frozen backbone that was trained before.
_base_ = './schedule_dssn_folder.py'
crop_size = 160
epochs = 8
base_lr = 3e-3
head_lr_factor = 1
iterations = 456  # of the baseline, as many as DSSN makes with 452 images
