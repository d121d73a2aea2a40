"""`python -m luss_mm` is `luss`."""

from luss_mm.cli import main

if __name__ == '__main__':
    main()
