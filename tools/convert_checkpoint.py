"""Convert a published checkpoint into one that our models load, or back.

python tools/convert_checkpoint.py pass-pretrained checkpoint.pth.tar pass.pth
python tools/convert_checkpoint.py mae mae_pretrain_vit_base.pth mae.pth --config CONFIG
python tools/convert_checkpoint.py torchvision-resnet ours.pth resnet50.pth --backwards
python tools/convert_checkpoint.py pass-centroids centroids.npy ours.npy
"""

from luss_mm.cli.convert import main

if __name__ == '__main__':
    main()
