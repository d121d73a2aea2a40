# DSSN on Cityscapes as its authors train and score. A recipe takes the loss and the segmentor that
# adds up windows itself: mmengine refuses keys that two bases have.
_base_ = './dssn_published.py'
strong_view = [  # without random operations, as the authors have it here
    dict(type='DistortColours', jitter=(0.5, 0.5, 0.5, 0.25)),
    dict(type='DrawCutMixBox', prob=0.5, shapes='uniform'),
]
hard_pixel_loss = dict(
    type='HardPixelCrossEntropy', ignore_label='${ignore_index}', thres=0.7, min_kept=100000
)
stages = dict(
    supervised=dict(model=dict(type='WindowSegmentor')),
    dssn=dict(model=dict(max_argmax_pixels=2048 * 1024)),  # decided at full size
)
