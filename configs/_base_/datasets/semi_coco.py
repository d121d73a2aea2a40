# COCO 2017: 80 objects and the background. As VOC; masks are grey PNGs of the instances' ids 1..80.
_base_ = './semi_voc.py'
data_root = 'data/COCO'
split_root = 'data/splits/coco'
split = '1_128'
num_classes = 81
labelled_dataset = dict(type='COCOListDataset')
unlabelled_dataset = dict(type='COCOListDataset')
validation_dataset = dict(type='COCOListDataset')
