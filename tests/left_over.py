"""What killed processes leave, found without the package's own pattern."""


def left_over(directory):
    """Hidden files of a temporary look and folders of unfinished outputs, as relative paths."""
    found = [path for path in directory.rglob('*') if '.tmp' in path.name]
    found += directory.rglob('*.partial*')
    return sorted(str(path.relative_to(directory)) for path in found)
