"""A page about a finished run: score, stages, losses, clusters, matching, classes and images.

python tools/report.py WORK_DIR
"""

from luss_mm.cli.runs import report as main

if __name__ == '__main__':
    main()
