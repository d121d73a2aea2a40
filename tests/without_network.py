"""Runs a tool that may not reach the network: python tests/without_network.py TOOL ARGUMENTS...

Every connection, every look-up of a name and every datagram that Python makes is refused, also in
the processes that it forks; sockets within the machine (loading processes use them) are not.
"""

import runpy
import sys

CONNECTING = ('socket.connect', 'socket.sendto', 'socket.sendmsg')
LOOKING_UP = ('socket.getaddrinfo', 'socket.gethostbyname', 'socket.gethostbyaddr')


def refuse_network(event, arguments):
    """An audit hook; Unix sockets have a path instead of a pair as their address."""
    if event in LOOKING_UP or (event in CONNECTING and isinstance(arguments[1], tuple)):
        raise PermissionError(f'no network: {event} {arguments[1:]}')


if __name__ == '__main__':
    sys.addaudithook(refuse_network)
    sys.argv = sys.argv[1:]
    runpy.run_path(sys.argv[0], run_name='__main__')
