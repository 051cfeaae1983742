"""A process that tokenizes texts with imported tokenizers, with limits on memory and processor time.

`app.tokenization.children` starts this process. The argument is the maximum processor time for one request, in seconds.
The process reads requests from standard input until the input ends.
"""

from __future__ import annotations

import math
import resource
import sys
from collections import OrderedDict
from contextlib import suppress

from app.errors import CheckpointInvalid, InvalidRequest
from app.tokenization import messages
from app.tokenization.messages import Answer, Define, Defined, Ids, Read, Refused, Undefined
from app.tokenization.tokenizer import Tokenizer

ADDRESS_SPACE = 3 * 2**30  # bytes, of which a process uses about half a gigabyte for the most expensive text
FILES = 64  # maximum number of open files
KEPT = 4  # maximum number of loaded tokenizers


class Shelf:
    """The tokenizers that the process has loaded. The least recently used tokenizer is dropped first."""

    def __init__(self) -> None:
        self._tokenizers: OrderedDict[str, Tokenizer] = OrderedDict()

    def answer(self, request: Define | Read) -> Answer:
        """Handle a request. Errors caused by the tokenizer or the text are returned as Refused."""
        try:
            return self._define(request) if isinstance(request, Define) else self._read(request)
        except InvalidRequest as error:
            return Refused(error.message, error.code, error.param, isinstance(error, CheckpointInvalid))

    def _define(self, request: Define) -> Answer:
        self._tokenizers[request.key] = Tokenizer(request.text, tuple(request.configs), bounded=True)
        while len(self._tokenizers) > KEPT:
            self._tokenizers.popitem(last=False)
        return Defined()

    def _read(self, request: Read) -> Answer:
        tokenizer = self._tokenizers.get(request.key)
        if tokenizer is None:
            return Undefined()
        self._tokenizers.move_to_end(request.key)
        if request.method == "batch":
            return Ids(tokenizer.encode_batch(request.texts, request.special))
        if request.method == "pair":
            first, second = request.texts
            return Ids([tokenizer.encode_pair(first, second, request.special)])
        return Ids([tokenizer.encode_within(request.size, request.side, *request.texts)])


def main() -> None:
    """Answer requests until standard input ends."""
    _limit(resource.RLIMIT_AS, ADDRESS_SPACE)
    _limit(resource.RLIMIT_NOFILE, FILES)
    _limit(resource.RLIMIT_FSIZE, 0)
    _limit(resource.RLIMIT_CORE, 0)
    seconds = int(sys.argv[1])
    shelf, source, target = Shelf(), sys.stdin.buffer, sys.stdout.buffer
    while (request := messages.read_request(source)) is not None:
        _limit_time(seconds)
        target.write(messages.encode(shelf.answer(request)))
        target.flush()


def _limit_time(seconds: int) -> None:
    """Let the system kill this process after this much additional processor time.

    The hard limit is left unchanged, so that the time can be extended later.
    """
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = math.ceil(used.ru_utime + used.ru_stime) + seconds
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def _limit(kind: int, value: int) -> None:
    with suppress(ValueError, OSError):  # the system does not support this limit, or already has a lower one
        resource.setrlimit(kind, (value, value))


if __name__ == "__main__":
    main()
