"""Child processes that tokenize texts with imported tokenizers, so that no such tokenizer can harm the API process."""

from __future__ import annotations

import hashlib
import os
import queue
import select
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import msgspec

from app.errors import CheckpointInvalid, InvalidRequest
from app.tokenization import bounds, faults, messages
from app.tokenization.definition import FILE, Definition
from app.tokenization.messages import Answer, Define, Ids, Read, Refused, Undefined

SECONDS = 60  # maximum processor time for one request
PROCESSES = 2  # processes that encode texts; an equal number may check new tokenizers
POLL_MILLISECONDS = 50
THREADS = 2  # threads of the tokenizers library in each process
TOO_EXPENSIVE = "this version's tokenizer needs too much memory or time for the text; send a shorter text"


class ChildEnded(Exception):
    """The process has exceeded a limit or been killed."""


class TokenizerProcess:
    """A process that handles one request at a time. The process is started by the first request."""

    def __init__(self, seconds: int = SECONDS) -> None:
        """`seconds` is the processor time that each request may take."""
        self._seconds = seconds
        self._process: subprocess.Popen[bytes] | None = None
        self.closed = False

    @property
    def fresh(self) -> bool:
        """Whether the next request starts a new process."""
        return self._process is None

    def ask(self, request: Define | Read) -> Answer:
        """Send a request and wait for its answer.

        Raises ChildEnded if the process ends without an answer, UnicodeEncodeError for a text with a lone surrogate,
        and bounds.Abandoned if the caller is no longer waiting. In the last case, the process is killed, because its
        work cannot be stopped otherwise.
        """
        if self.closed:
            raise bounds.Abandoned
        body = messages.encode(request)
        process = self._process = self._process or _start(self._seconds)
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(body)
            process.stdin.flush()
            _wait(process.stdout.fileno())
            answer = messages.read_answer(process.stdout)
        except OSError:
            answer = None
        except BaseException:
            self.kill()
            raise
        if answer is None:
            self.kill()
            raise ChildEnded
        return answer

    def kill(self) -> None:
        """End the process. The next request starts a new process."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout):
                with suppress(OSError):  # the rest of a request cannot be written
                    stream.close() if stream is not None else None

    def close(self) -> None:
        """End the process permanently. Thread-safe: calls that are waiting for an answer raise ChildEnded."""
        self.closed = True
        if (process := self._process) is not None:
            process.kill()


class Children:
    """The child processes of one API process. Thread-safe. Requests wait for a free process."""

    def __init__(self, seconds: int = SECONDS) -> None:
        self._seconds = seconds
        self._all = [TokenizerProcess(seconds) for _ in range(PROCESSES)]
        self._free: queue.LifoQueue[TokenizerProcess] = queue.LifoQueue()
        for child in self._all:
            self._free.put(child)
        self._checks = threading.Semaphore(PROCESSES)

    def check(self, definition: Definition) -> None:
        """Load a tokenizer in a separate process.

        Raises CheckpointInvalid if the tokenizer cannot be loaded or exceeds a limit.
        """
        child = TokenizerProcess(self._seconds)
        with self._checks:
            try:
                _accepted(child.ask(_define("", definition)))
            except ChildEnded:
                raise CheckpointInvalid(f"{FILE} needs too much memory or time", param=FILE) from None
            finally:
                child.kill()

    def read(self, request: Read, definition: Definition) -> list[list[int]]:
        """Return the ids of the request's texts.

        Raises InvalidRequest if they cannot be tokenized within the limits, and bounds.Abandoned if the caller is no
        longer waiting.
        """
        with self._child() as child:
            if not child.fresh:
                with suppress(ChildEnded):  # earlier texts or other tokenizers may be the cause, so try again
                    return _ids(_ask(child, request, definition))
            try:
                return _ids(_ask(child, request, definition))
            except ChildEnded:
                raise InvalidRequest(TOO_EXPENSIVE, code="text_too_long") from None

    def close(self) -> None:
        """End all processes."""
        for child in self._all:
            child.close()
        with suppress(queue.Empty):
            while True:  # a child that has a request is cleaned up by the thread that waits for it
                self._free.get_nowait().kill()

    @contextmanager
    def _child(self) -> Iterator[TokenizerProcess]:
        child = self._free.get()
        try:
            yield child
        finally:
            if child.closed:
                child.kill()
            self._free.put(child)


def key_of(definition: Definition) -> str:
    """Return the key that identifies a tokenizer in the child processes."""
    configs = msgspec.json.encode(definition.configs, order="deterministic")
    return hashlib.sha256(definition.text.encode() + b"\0" + configs).hexdigest()


def _ask(child: TokenizerProcess, request: Read, definition: Definition) -> Answer:
    try:
        answer = child.ask(request)
        if isinstance(answer, Undefined):
            _accepted(child.ask(_define(request.key, definition)))
            answer = child.ask(request)
        return answer
    except UnicodeEncodeError as error:
        raise faults.surrogate(faults.find_surrogate(request.texts) or error) from None


def _define(key: str, definition: Definition) -> Define:
    return Define(key, definition.text, [dict(config) for config in definition.configs])


def _accepted(answer: Answer) -> Answer:
    if isinstance(answer, Refused):
        kind = CheckpointInvalid if answer.checkpoint else InvalidRequest
        raise kind(answer.message, code=answer.code, param=answer.param)
    return answer


def _ids(answer: Answer) -> list[list[int]]:
    accepted = _accepted(answer)
    assert isinstance(accepted, Ids)
    return accepted.sequences


def _start(seconds: int) -> subprocess.Popen[bytes]:
    """Start a process. Its environment contains neither settings nor secrets."""
    variables = {
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "RAYON_NUM_THREADS": str(THREADS),
        "MALLOC_ARENA_MAX": str(THREADS),  # each arena of malloc reserves much of the address space
    }
    command = (sys.executable, "-m", "app.tokenization.child", str(seconds))
    pipe, nothing = subprocess.PIPE, subprocess.DEVNULL
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=nothing, env=variables, start_new_session=True)


def _wait(descriptor: int) -> None:
    """Wait for the answer. Raises bounds.Abandoned if the caller is no longer waiting."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    while not poll.poll(POLL_MILLISECONDS):
        if bounds.abandoned.get()():
            raise bounds.Abandoned
