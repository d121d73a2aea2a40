r"""Prepare ImageNet-S from ILSVRC 2012.

git clone https://github.com/LUSSeg/ImageNet-S
python tools/prepare_imagenet_s.py IMAGENET data/imagenet_s --subset 50 \
    --lists ImageNet-S/data --annotations ImageNetS50-*.zip
"""

from luss_mm.cli.imagenet_s import prepare as main

if __name__ == '__main__':
    main()
