"""Segment an image or a folder of images with a trained run.

python tools/infer.py work_dirs/pass_s50 photos/ --out predictions/
python tools/infer.py checkpoint.pth photo.jpg --config config.py --out predictions/
"""

from luss_mm.cli.infer import main

if __name__ == '__main__':
    main()
