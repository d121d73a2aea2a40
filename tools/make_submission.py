r"""Pack predictions for the ImageNet-S benchmark, or check a zip.

python tools/make_submission.py PRED_DIR OUT.zip --subset 50 --split test --images DIR \
    --match match.json --method method.txt
python tools/make_submission.py --check OUT.zip --subset 50 --split test --images DIR
"""

from luss_mm.cli.imagenet_s import submit as main

if __name__ == '__main__':
    main()
