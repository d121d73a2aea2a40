"""The twelve ImageNet-S figures of a folder of label maps, from any method.

python tools/evaluate.py PRED_DIR GT_DIR --categories 50 --out scores.json
"""

from luss_mm.cli.evaluate import main

if __name__ == '__main__':
    main()
