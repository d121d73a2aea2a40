"""The command `luss`: one front door to everything that tools/ does."""

import os
import sys
from importlib import import_module

from luss_mm.cli.arguments import not_known

COMMANDS = dict(
    train='train a recipe or any mmseg config; the same command resumes',
    infer='segment an image or a folder of images with a finished run',
    evaluate='score a folder of label maps',
    report='write the page about a run',
    export='write a segmentor as one file for other programs',
    estimate='say what a run will cost: time, memory and disk',
    browse='draw what a stage trains on',
    convert='convert a published checkpoint',
    prepare='prepare ImageNet-S from ILSVRC 2012',
    submit='pack predictions for the ImageNet-S benchmark',
    recipes='list the recipes',
    doctor='show versions, GPU, weights and disk of this machine',
)
HIDDEN = ('complete',)  # called by the shell
# Module and function of those that have no module of their own, whose function is `main`.
PLACES = dict(
    browse='runs:browse',
    complete='about:complete',
    doctor='about:doctor',
    estimate='runs:estimate',
    prepare='imagenet_s:prepare',
    recipes='about:list_recipes',
    report='runs:report',
    submit='imagenet_s:submit',
)


def main(arguments: list[str] | None = None) -> None:
    """Run a command; `luss COMMAND --help` tells what follows it.

    Args:
        arguments: Arguments of the command line; None for those of this process.

    Raises:
        SystemExit: With the status of the command.
    """
    given = sys.argv[1:] if arguments is None else arguments
    if not given or given[0] in ('-h', '--help', 'help'):
        print(overview())
        return
    name, *rest = given
    if name == '--version':
        from luss_mm.version import __version__

        print(__version__)
        return
    if name not in COMMANDS and name not in HIDDEN:
        sys.exit(f'error: {not_known(name, COMMANDS)}')
    sys.argv[0] = f'luss {name}'  # as usage lines name it
    try:
        module, _, function = PLACES.get(name, f'{name}:main').partition(':')
        getattr(import_module(f'luss_mm.cli.{module}'), function)(rest)
        sys.stdout.flush()
    except BrokenPipeError:  # `luss recipes | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def overview() -> str:
    """The commands, a line each."""
    lines = [f'  {name:10} {told}' for name, told in COMMANDS.items()]
    return '\n'.join(
        [
            'luss: large-scale unsupervised semantic segmentation',
            '',
            '  luss train pdso_photos data_root=PHOTOS num_categories=12',
            '',
            *lines,
            '',
            'luss COMMAND --help tells more. Completion in bash: eval "$(luss complete --print)"',
        ]
    )
