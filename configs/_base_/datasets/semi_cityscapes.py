# Cityscapes: 19 classes, none of them a background. As VOC; masks are `labelTrainIds` PNGs. Images
# of 2048 x 1024 pixels are predicted in windows of the crop's size that overlap by a third.
_base_ = './semi_voc.py'
data_root = 'data/cityscapes'
split_root = 'data/splits/cityscapes'
num_classes = 19
inference = dict(
    mode='slide',
    crop_size=('${crop_size}', '${crop_size}'),
    stride=('${crop_size * 2 // 3}', '${crop_size * 2 // 3}'),
)
labelled_dataset = dict(type='CityscapesListDataset')
unlabelled_dataset = dict(type='CityscapesListDataset')
validation_dataset = dict(type='CityscapesListDataset')
