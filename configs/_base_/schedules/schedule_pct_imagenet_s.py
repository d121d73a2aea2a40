# Learning Pseudo Labels on ImageNet-S: the iterations of VOC on smaller crops. Two networks with
# many classes: the losses are taken at every fourth pixel.
_base_ = './schedule_pct_folder.py'
crop_size = 224
loss_stride = 4
iterations = 20000
base_lr = 1e-3
retrain_iterations = 30000
retrain_lr = 7e-3
