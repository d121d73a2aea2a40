"""Times as people say them."""


def format_duration(seconds: float) -> str:
    """As people say it: 0.4 s, 12 s, 3 min 20 s, 2 h 5 min."""
    if seconds < 10:
        return f'{seconds:.1f} s'
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 1:
        return f'{rest} s'
    hours, minutes_left = divmod(minutes, 60)
    return f'{hours} h {minutes_left} min' if hours else f'{minutes} min {rest} s'
